//! Wall times as text, in both directions: RFC 3339.

use super::NANOS_PER_SEC;
use crate::WallTime;
use std::fmt;

/// A text that is no RFC 3339 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time such as `2000-02-29T23:59:59.5Z`: {why}")]
pub struct ParseWallTimeError {
    why: &'static str,
}

impl WallTime {
    /// Reads an RFC 3339 time, such as `2000-02-29T23:59:59.5Z` or `2000-02-29T23:59:59+01:00`.
    ///
    /// As a `const fn`, it serves constants; elsewhere, [`str::parse`] is the same.
    ///
    /// # Errors
    ///
    /// When the text has another form, or names a day or a second that does not exist. Leap seconds
    /// (`23:59:60`) have no wall time of their own and are refused.
    pub const fn from_rfc3339(text: &str) -> Result<WallTime, ParseWallTimeError> {
        match parse(text.as_bytes()) {
            Ok(unix_ns) => Ok(WallTime::from_unix_nanos(unix_ns)),
            Err(why) => Err(ParseWallTimeError { why }),
        }
    }
}

impl std::str::FromStr for WallTime {
    type Err = ParseWallTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        WallTime::from_rfc3339(text)
    }
}

/// RFC 3339 in UTC with exactly as many fraction digits as are needed: none, or nine.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.unix_nanos().div_euclid(NANOS_PER_SEC);
        let nanos = self.unix_nanos().rem_euclid(NANOS_PER_SEC);
        let (days, secs) = (secs.div_euclid(SECS_PER_DAY), secs.rem_euclid(SECS_PER_DAY));
        let (year, month, day) = civil_from_days(days);
        let (h, m, s) = (secs / 3600, secs / 60 % 60, secs % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}")?;
        if nanos != 0 {
            write!(f, ".{nanos:09}")?;
        }
        f.write_str("Z")
    }
}

const SECS_PER_DAY: i128 = 86_400;

const fn parse(text: &[u8]) -> Result<i128, &'static str> {
    const FORM: &str = "the form is YYYY-MM-DDThh:mm:ss, a fraction or none, and Z or an offset";
    let Some([year, month, day, hour, minute, second]) = numbers(text, 0, b"0000-00-00T00:00:00")
    else {
        return Err(FORM);
    };
    if month < 1 || month > 12 || day < 1 || day > days_in(year, month) {
        return Err("there is no such day");
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err("there is no such time of day; leap seconds have no time of their own");
    }
    let Some((nanos, at)) = fraction(text, 19) else {
        return Err("a fraction has one to nine digits");
    };
    let Some(offset_secs) = offset(text, at) else { return Err(FORM) };
    let days = days_from_civil(year, month, day);
    let secs = days * SECS_PER_DAY + hour * 3600 + minute * 60 + second - offset_secs;
    Ok(secs * NANOS_PER_SEC + nanos)
}

/// The numbers in a text of this form, from `start` on: a zero stands for a digit, and another character
/// for itself, in any case.
const fn numbers(text: &[u8], start: usize, form: &[u8]) -> Option<[i128; 6]> {
    let (mut numbers, mut n, mut i) = ([0; 6], 0, 0);
    while i < form.len() {
        if start + i >= text.len() {
            return None;
        }
        match text[start + i] {
            digit @ b'0'..=b'9' if form[i] == b'0' => {
                numbers[n] = numbers[n] * 10 + (digit - b'0') as i128;
            }
            other if form[i] != b'0' && other.to_ascii_uppercase() == form[i] => n += 1,
            _ => return None,
        }
        i += 1;
    }
    Some(numbers)
}

/// Nanoseconds, and where they end; zero if there is no fraction.
const fn fraction(text: &[u8], at: usize) -> Option<(i128, usize)> {
    if at >= text.len() || text[at] != b'.' {
        return Some((0, at));
    }
    let (mut nanos, mut end) = (0, at + 1);
    while end < text.len() && text[end].is_ascii_digit() {
        nanos = nanos * 10 + (text[end] - b'0') as i128;
        end += 1;
        if end > at + 10 {
            return None;
        }
    }
    let len = end - at - 1;
    if len == 0 { None } else { Some((nanos * 10_i128.pow(9 - len as u32), end)) }
}

/// Seconds ahead of UTC, if that is all that is left.
const fn offset(text: &[u8], at: usize) -> Option<i128> {
    if at >= text.len() {
        return None;
    }
    let sign = match text[at] {
        b'Z' | b'z' if text.len() == at + 1 => return Some(0),
        b'+' if text.len() == at + 6 => 1,
        b'-' if text.len() == at + 6 => -1,
        _ => return None,
    };
    match numbers(text, at + 1, b"00:00") {
        Some([hours, minutes, ..]) if hours <= 23 && minutes <= 59 => {
            Some(sign * (hours * 3600 + minutes * 60))
        }
        _ => None,
    }
}

const fn days_in(year: i128, month: i128) -> i128 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar. As its inverse below, it
/// counts in eras of 400 years from 0000-03-01, so that a leap day is the last of its year.
const fn days_from_civil(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day.
fn civil_from_days(days: i128) -> (i128, i128, i128) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_displays_as_rfc_3339() {
        let show = |ns| WallTime::from_unix_nanos(ns).to_string();
        assert_eq!(show(0), "1970-01-01T00:00:00Z");
        assert_eq!(show(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(show(951_782_400 * NANOS_PER_SEC), "2000-02-29T00:00:00Z");
        assert_eq!(show(4_107_542_399 * NANOS_PER_SEC + 999_000), "2100-02-28T23:59:59.000999000Z");
    }

    #[test]
    fn what_is_displayed_is_read_back() {
        let mut stream = crate::Seed::new(1).stream("rfc3339");
        // All of the years 0000 to 9999.
        let (first, last) = (-62_167_219_200_i128, 253_402_300_799);
        for _ in 0..10_000 {
            let secs = first + i128::from(stream.next_u64()) % (last - first + 1);
            let ns = secs * NANOS_PER_SEC + (stream.next_u64() % 1_000_000_000) as i128;
            let wall = WallTime::from_unix_nanos(ns);
            assert_eq!(wall.to_string().parse(), Ok(wall));
        }
    }

    #[test]
    fn fractions_and_offsets_are_read() {
        let ns = |text: &str| text.parse::<WallTime>().unwrap().unix_nanos();
        assert_eq!(ns("1970-01-01T00:00:00.5Z"), 500_000_000);
        assert_eq!(ns("1970-01-01t00:00:01.000000001z"), 1_000_000_001);
        assert_eq!(ns("1970-01-01T01:30:00+01:30"), 0);
        assert_eq!(ns("1969-12-31T16:00:00-08:00"), 0);
        assert_eq!(ns("1900-02-28T00:00:00-00:00"), -2_203_977_600 * NANOS_PER_SEC);
    }

    #[test]
    fn what_is_wrong_is_refused_with_a_reason() {
        let why = |text: &str| text.parse::<WallTime>().unwrap_err().why;
        for text in [
            "",
            "now",
            "2000-01-01",
            "2000-01-01T00:00:00",
            "2000-01-01 00:00:00Z",
            "2000-1-01T00:00:00Z0",
            "2000-01-01T00:00:00Zz",
            "2000-01-01T00:00:00+1:00",
            "2000-01-01T00:00:00+24:00",
            "2000-01-01T00:00:00é",
        ] {
            assert!(why(text).starts_with("the form is"), "{text}: {}", why(text));
        }
        for text in ["2001-02-29T00:00:00Z", "2000-00-01T00:00:00Z", "2000-04-31T00:00:00Z"] {
            assert_eq!(why(text), "there is no such day", "{text}");
        }
        for text in ["2000-01-01T24:00:00Z", "2000-01-01T00:60:00Z", "2016-12-31T23:59:60Z"] {
            assert!(why(text).starts_with("there is no such time of day"), "{text}");
        }
        for text in ["2000-01-01T00:00:00.Z", "2000-01-01T00:00:00.0123456789Z"] {
            assert!(why(text).starts_with("a fraction"), "{text}");
        }
    }
}
