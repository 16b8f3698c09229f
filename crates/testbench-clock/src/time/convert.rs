//! Conversions to and from the time types of other crates, each under a feature with the crate's name.
//!
//! Like [`WallTime`], these types count nanoseconds from 1970 without leap seconds. So a conversion is
//! exact; it fails if the time is outside the other type's range.

#[cfg(feature = "chrono")]
use super::NANOS_PER_SEC;
use crate::WallTime;

/// A time that the other type cannot hold; see the conversions of [`WallTime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wall} is past the range of `{target}`")]
pub struct OutOfRangeError {
    wall: WallTime,
    target: &'static str,
}

/// Conversions to and from a type that counts nanoseconds since 1970.
#[cfg(any(feature = "jiff", feature = "time"))]
macro_rules! converts {
    ($type:ty, $name:literal, $nanos:ident, $from_nanos:ident) => {
        impl From<$type> for WallTime {
            fn from(time: $type) -> Self {
                WallTime::from_unix_nanos(time.$nanos())
            }
        }

        /// The result is in UTC. The range is the years -9999 to 9999.
        impl TryFrom<WallTime> for $type {
            type Error = OutOfRangeError;

            fn try_from(wall: WallTime) -> Result<Self, OutOfRangeError> {
                let time = <$type>::$from_nanos(wall.unix_nanos());
                time.map_err(|_| OutOfRangeError { wall, target: $name })
            }
        }
    };
}

#[cfg(feature = "jiff")]
converts!(::jiff::Timestamp, "jiff::Timestamp", as_nanosecond, from_nanosecond);

#[cfg(feature = "time")]
converts!(
    ::time::OffsetDateTime,
    "time::OffsetDateTime",
    unix_timestamp_nanos,
    from_unix_timestamp_nanos
);

/// chrono's leap second becomes the second after it.
#[cfg(feature = "chrono")]
impl<Z: ::chrono::TimeZone> From<::chrono::DateTime<Z>> for WallTime {
    fn from(time: ::chrono::DateTime<Z>) -> Self {
        let nanos = i128::from(time.timestamp_subsec_nanos());
        WallTime::from_unix_nanos(i128::from(time.timestamp()) * NANOS_PER_SEC + nanos)
    }
}

/// The range is the years -262143 to 262142.
#[cfg(feature = "chrono")]
impl TryFrom<WallTime> for ::chrono::DateTime<::chrono::Utc> {
    type Error = OutOfRangeError;

    fn try_from(wall: WallTime) -> Result<Self, OutOfRangeError> {
        let ns = wall.unix_nanos();
        let secs = i64::try_from(ns.div_euclid(NANOS_PER_SEC)).ok();
        let nanos = u32::try_from(ns.rem_euclid(NANOS_PER_SEC)).ok();
        secs.zip(nanos)
            .and_then(|(secs, nanos)| ::chrono::DateTime::from_timestamp(secs, nanos))
            .ok_or(OutOfRangeError { wall, target: "chrono::DateTime<Utc>" })
    }
}

#[cfg(test)]
mod tests {
    use crate::WallTime;
    use std::fmt::Debug;

    fn check<T>(text_of: impl Fn(&T) -> String)
    where
        T: TryFrom<WallTime> + Into<WallTime>,
        T::Error: Debug + ToString,
    {
        for text in [
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999999Z",
            "2000-02-29T12:34:56.000000001Z",
            "0000-01-01T00:00:00Z",
            "9999-12-30T21:59:59.999999999Z",
        ] {
            let wall: WallTime = text.parse().unwrap();
            let theirs = T::try_from(wall).unwrap();
            let shown: WallTime = text_of(&theirs).parse().unwrap();
            assert_eq!(shown, wall, "{text}");
            assert_eq!(theirs.into(), wall, "{text}");
        }
        for ns in [i128::MAX, i128::MIN] {
            let wall = WallTime::from_unix_nanos(ns);
            let Err(error) = T::try_from(wall) else { panic!("{wall} fits") };
            assert!(error.to_string().contains("is past the range of `"), "{}", error.to_string());
        }
    }

    #[test]
    #[cfg(feature = "jiff")]
    fn jiff_has_the_same_times() {
        check::<::jiff::Timestamp>(ToString::to_string);
    }

    #[test]
    #[cfg(feature = "time")]
    fn time_has_the_same_times() {
        check::<::time::OffsetDateTime>(|time| {
            let (year, month, day) = time.to_calendar_date();
            let (h, m, s, nanos) = time.to_hms_nano();
            let month = u8::from(month);
            format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{nanos:09}Z")
        });
        let there = ::time::OffsetDateTime::UNIX_EPOCH
            .to_offset(::time::UtcOffset::from_hms(5, 30, 0).unwrap());
        assert_eq!(WallTime::from(there), WallTime::UNIX_EPOCH);
    }

    #[test]
    #[cfg(feature = "chrono")]
    fn chrono_has_the_same_times() {
        use ::chrono::{DateTime, FixedOffset, Utc};
        check::<DateTime<Utc>>(DateTime::to_rfc3339);
        let there: DateTime<FixedOffset> = "1970-01-01T05:30:00+05:30".parse().unwrap();
        assert_eq!(WallTime::from(there), WallTime::UNIX_EPOCH);
        let leap: DateTime<FixedOffset> = "2016-12-31T23:59:60Z".parse().unwrap();
        assert_eq!(WallTime::from(leap).to_string(), "2017-01-01T00:00:00Z");
    }
}
