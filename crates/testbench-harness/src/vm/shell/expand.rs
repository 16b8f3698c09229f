//! From the words of a line to the arguments of a command.

use std::io;

use deno_task_shell::parser::{Word, WordPart};

use super::run::Shell;

impl Shell<'_> {
    /// The arguments that a word becomes: one, or as many as an unquoted `$NAME` or `$(…)` in it
    /// has fields, so also none.
    pub(super) fn fields(&mut self, word: &Word) -> io::Result<Vec<String>> {
        let mut fields = Fields::default();
        for part in word.parts() {
            match part {
                WordPart::Text(text) => fields.append(text),
                WordPart::Quoted(parts) => {
                    let text = self.join(parts)?;
                    fields.append(&text);
                }
                other => {
                    let text = self.join(std::slice::from_ref(other))?;
                    fields.append_split(&text);
                }
            }
        }
        Ok(fields.done())
    }

    /// The text that a word becomes where no fields are made: in quotes, in an assignment, as the
    /// file of a redirection.
    pub(super) fn text(&mut self, word: &Word) -> io::Result<String> {
        self.join(word.parts())
    }

    fn join(&mut self, parts: &[WordPart]) -> io::Result<String> {
        let mut joined = String::new();
        for part in parts {
            match part {
                WordPart::Text(text) => joined.push_str(text),
                WordPart::Quoted(parts) => joined.push_str(&self.join(parts)?),
                WordPart::Variable(name) => joined.push_str(&self.variable(name)),
                WordPart::Command(list) => {
                    let output = self.substitute(list)?;
                    joined.push_str(output.trim_end_matches('\n'));
                }
                // Quoted ones mean themselves; `check.rs` refuses the others.
                WordPart::Tilde => joined.push('~'),
                WordPart::Brace(_) => {}
            }
        }
        Ok(joined)
    }
}

/// Fields in the making. The last one may grow still.
#[derive(Default)]
struct Fields {
    done: Vec<String>,
    open: Option<String>,
}

impl Fields {
    /// Adds what is kept together; even when empty, there is a field now.
    fn append(&mut self, text: &str) {
        self.open.get_or_insert_default().push_str(text);
    }

    /// Adds what blanks divide.
    fn append_split(&mut self, text: &str) {
        let blank = |c: char| matches!(c, ' ' | '\t' | '\n');
        for (n, piece) in text.split(blank).enumerate() {
            if n > 0 {
                self.done.extend(self.open.take());
            }
            if !piece.is_empty() {
                self.append(piece);
            }
        }
    }

    fn done(mut self) -> Vec<String> {
        self.done.extend(self.open);
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn blanks_divide_only_what_is_not_quoted() {
        let fields = |build: fn(&mut Fields)| {
            let mut fields = Fields::default();
            build(&mut fields);
            fields.done()
        };
        assert_eq!(fields(|f| f.append_split(" a  b ")), ["a", "b"]);
        assert_eq!(fields(|f| f.append_split("  ")), [""; 0]);
        assert_eq!(fields(|f| f.append("")), [""]);
        let mixed = |f: &mut Fields| {
            f.append("x");
            f.append_split("1 2");
            f.append("y z");
        };
        assert_eq!(fields(mixed), ["x1", "2y z"]);
    }
}
