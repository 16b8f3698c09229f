//! A timeline as a picture: one lane for each participant, virtual time from left to right.

use super::{Kind, Log, LogLine};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const LANE_PX: usize = 28;
const NAMES_PX: usize = 220;
const TIME_PX: usize = 960;
const AXIS_PX: usize = 30;

impl Log {
    /// The log as an SVG picture: bars are waits, dots are readings and changes of the wall clock.
    /// Hover over anything to see what it is.
    pub fn to_svg(&self) -> String {
        let lanes = Lanes::of(self);
        let height = AXIS_PX + LANE_PX * lanes.names.len() + 10;
        let width = NAMES_PX + TIME_PX + 20;
        let mut svg = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="monospace" font-size="12">"#
        );
        let _ = writeln!(svg, r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##);
        let (first, last) = (lanes.first_ns, lanes.last_ns);
        let _ = writeln!(svg, r#"<text x="{NAMES_PX}" y="16">{first} ns</text>"#);
        let right = NAMES_PX + TIME_PX;
        let _ = writeln!(svg, r#"<text x="{right}" y="16" text-anchor="end">{last} ns</text>"#);
        lanes.draw_names(&mut svg);
        lanes.draw_events(&mut svg, self.events());
        svg.push_str("</svg>\n");
        svg
    }
}

struct Lanes<'a> {
    /// In the order in which they first appear.
    names: Vec<&'a str>,
    first_ns: u64,
    last_ns: u64,
}

impl<'a> Lanes<'a> {
    fn of(log: &'a Log) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for event in log.events() {
            if !names.contains(&&*event.who) {
                names.push(&event.who);
            }
        }
        let times = || log.events().iter().map(|event| event.mono.nanos());
        Lanes { names, first_ns: times().min().unwrap_or(0), last_ns: times().max().unwrap_or(0) }
    }

    fn draw_names(&self, svg: &mut String) {
        for (lane, name) in self.names.iter().enumerate() {
            let (y, text_y) = (AXIS_PX + lane * LANE_PX, AXIS_PX + lane * LANE_PX + 18);
            let right = NAMES_PX + TIME_PX;
            let _ = writeln!(svg, r##"<path d="M0 {y}H{right}" stroke="#dddddd"/>"##);
            let _ = writeln!(svg, r#"<text x="4" y="{text_y}">{}</text>"#, escaped(name));
        }
    }

    fn draw_events(&self, svg: &mut String, events: &[LogLine]) {
        let mut waits: BTreeMap<&str, &LogLine> = BTreeMap::new();
        for event in events {
            match event.kind {
                Kind::Wait | Kind::Outside => {
                    waits.insert(&event.who, event);
                }
                Kind::Wake | Kind::Return => {
                    if let Some(began) = waits.remove(&*event.who) {
                        self.draw_bar(svg, began, event);
                    }
                }
                Kind::Read => self.draw_dot(svg, event, "#888888"),
                Kind::Inject => self.draw_dot(svg, event, "#cc3311"),
                Kind::Join | Kind::Leave => self.draw_dot(svg, event, "#000000"),
            }
        }
    }

    fn draw_bar(&self, svg: &mut String, began: &LogLine, ended: &LogLine) {
        let (x, end) = (self.x(began), self.x(ended));
        let (y, width) = (self.y(began) + 6, (end - x).max(1));
        let fill = if began.kind == Kind::Outside { "#ee9944" } else { "#77aadd" };
        let (from, to) = (began.mono.nanos(), ended.mono.nanos());
        let (what, how) = (escaped(&began.text), escaped(&ended.text));
        let _ = writeln!(
            svg,
            r#"<rect x="{x}" y="{y}" width="{width}" height="16" fill="{fill}"><title>{what}: {from} to {to} ns, {how}</title></rect>"#
        );
    }

    fn draw_dot(&self, svg: &mut String, event: &LogLine, fill: &str) {
        let (x, y) = (self.x(event), self.y(event) + 14);
        let (at, text) = (event.mono.nanos(), escaped(&event.text));
        let _ = writeln!(
            svg,
            r#"<circle cx="{x}" cy="{y}" r="3" fill="{fill}"><title>{:?} {text} at {at} ns</title></circle>"#,
            event.kind
        );
    }

    fn x(&self, event: &LogLine) -> usize {
        let span = u128::from(self.last_ns - self.first_ns).max(1);
        let at = u128::from(event.mono.nanos() - self.first_ns);
        // At most `TIME_PX`, so it fits.
        NAMES_PX + usize::try_from(at * TIME_PX as u128 / span).unwrap_or(TIME_PX)
    }

    fn y(&self, event: &LogLine) -> usize {
        let lane = self.names.iter().position(|name| *name == &*event.who).unwrap_or(0);
        AXIS_PX + lane * LANE_PX
    }
}

/// A name may hold anything, XML may not: what is no character of it (XML 1.0, section 2.2) is replaced.
fn escaped(text: &str) -> String {
    let is_xml = |c: char| c >= ' ' || matches!(c, '\t' | '\n' | '\r');
    let is_none = |c: char| !is_xml(c) || matches!(c, '\u{FFFE}' | '\u{FFFF}');
    let text = text.replace(is_none, "\u{FFFD}");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use crate::log::Kind;
    use crate::{Clock, MockClock, Role, Wait};
    use std::time::Duration;

    #[test]
    fn a_picture_has_a_lane_for_each_participant_and_a_bar_for_each_wait() {
        let clock = MockClock::builder().name("<main> & co").log().build();
        clock.advance(Duration::from_secs(1)).unwrap();
        let lent = clock.lend("cat");
        let deadline = clock.mono().checked_add(Duration::from_secs(3));
        lent.wait(Wait { deadline, on: &[], what: &"poll_oneoff" }).unwrap();
        drop(clock.join("unused", Role::Guest));
        let svg = clock.log().unwrap().to_svg();
        assert!(svg.contains("&lt;main&gt; &amp; co"), "{svg}");
        assert_eq!(svg.matches("<rect x=").count(), 2, "{svg}");
        // One second of four, from the left; then the other three.
        assert!(svg.contains(r#"<rect x="220" y="36" width="240""#), "{svg}");
        assert!(svg.contains(r#"<rect x="460" y="64" width="720""#), "{svg}");
        assert!(svg.contains("poll_oneoff: 1000000000 to 4000000000 ns, deadline"), "{svg}");
        assert_eq!(svg.matches("<text x=\"4\"").count(), 3, "{svg}");
    }

    #[test]
    fn a_name_with_any_characters_is_still_xml() {
        let clock = MockClock::builder().name("\0 \u{1b}[1m \u{FFFF} \"<&>' \t\n").log().build();
        clock.advance(Duration::from_secs(1)).unwrap();
        let svg = clock.log().unwrap().to_svg();
        let name = "\u{FFFD} \u{FFFD}[1m \u{FFFD} &quot;&lt;&amp;&gt;' \t\n";
        assert!(svg.contains(name), "{svg}");
        let is_none =
            |c: char| (c < ' ' && !"\t\n\r".contains(c)) || "\u{FFFE}\u{FFFF}".contains(c);
        assert!(!svg.contains(is_none), "{svg}");
    }

    #[test]
    fn an_empty_log_is_a_picture_too() {
        let svg = super::Log::default().to_svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
    }

    #[test]
    fn threads_spawned_on_one_line_have_a_lane_each() {
        let clock = MockClock::builder().log().build();
        let installed = clock.install();
        crate::thread::scope(|scope| {
            for secs in [3, 1, 2] {
                scope.spawn(move || crate::sleep(Duration::from_secs(secs)));
            }
        });
        drop(installed);
        let log = clock.log().unwrap();
        let svg = log.to_svg();
        assert_eq!(svg.matches(r#"<text x="4""#).count(), 4, "the host's and three: {svg}");
        let waits = log.events().iter().filter(|event| event.kind == Kind::Wake).count();
        assert_eq!(svg.matches("<rect x=").count(), waits, "a bar for each wait: {svg}");
    }
}
