//! HTML that cannot hold foreign markup. PURE.
//!
//! Markup is a `&'static str`, so it stands in this source; everything else is escaped.

/// Most characters of one text from outside.
const LONGEST: usize = 400;

/// HTML as it grows.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text from anywhere, also within the quotes of an attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for (at, letter) in text.chars().enumerate() {
            if at >= LONGEST {
                self.0.push('…');
                break;
            }
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                letter if misleads(letter) => self.0.push('\u{fffd}'),
                letter => self.0.push(letter),
            }
        }
        self
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Control characters, and those that turn the direction of what follows.
fn misleads(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text from outside, cut for JSON.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Bytes in the largest unit that leaves a whole part, with one decimal, rounded down: what is not full is not shown
/// as full.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut size = 1;
    while count / size >= 1024 && unit + 1 < UNITS.len() {
        size *= 1024;
        unit += 1;
    }
    let tenths = u128::from(count % size) * 10 / u128::from(size);
    match tenths {
        0 => format!("{} {}", count / size, UNITS[unit]),
        _ => format!("{}.{tenths} {}", count / size, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_cut_and_cannot_turn_its_direction() {
        let mut html = Html::default();
        html.raw("<b>").text("<i a=\"b'c\">&\n\u{202e}x");
        assert_eq!(
            html.finish(),
            "<b>&lt;i a=&quot;b&#39;c&quot;&gt;&amp;\u{fffd}\u{fffd}x"
        );
        let mut long = Html::default();
        long.text(&"é".repeat(LONGEST + 1));
        assert_eq!(long.finish(), "é".repeat(LONGEST) + "…");
    }

    #[test]
    fn bytes_are_short() {
        let told = [999, 2048, 25_000, (2 << 30) - 1, 2 << 30, u64::MAX].map(bytes);
        let expected = [
            "999 B",
            "2 KiB",
            "24.4 KiB",
            "1.9 GiB",
            "2 GiB",
            "17179869183.9 GiB",
        ];
        assert_eq!(told, expected);
    }
}
