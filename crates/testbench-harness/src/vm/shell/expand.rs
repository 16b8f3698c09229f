//! Expands the words of a line to the arguments of a command.

use std::io;

use deno_task_shell::parser::{Word, WordPart};

use super::run::Shell;

impl Shell<'_> {
    /// The arguments of a word: one, or as many as the fields of an unquoted `$NAME` or `$(…)` in
    /// it, which may be none.
    pub(super) fn fields(&mut self, word: &Word) -> io::Result<Vec<String>> {
        let mut fields = Fields::default();
        for part in word.parts() {
            let text = self.join(std::slice::from_ref(part))?;
            match part {
                WordPart::Text(_) | WordPart::Quoted(_) => fields.append(&text),
                _ => fields.append_split(&text),
            }
        }
        Ok(fields.done())
    }

    /// The text of a word that is not split into fields: in quotes, in an assignment, as the file of
    /// a redirection.
    pub(super) fn text(&mut self, word: &Word) -> io::Result<String> {
        self.join(word.parts())
    }

    fn join(&mut self, parts: &[WordPart]) -> io::Result<String> {
        let mut joined = String::new();
        for part in parts {
            match part {
                WordPart::Text(text) => joined.push_str(text),
                WordPart::Quoted(parts) => joined.push_str(&self.join(parts)?),
                WordPart::Variable(name) => joined.push_str(&self.variable(name).to_string_lossy()),
                WordPart::Command(list) => {
                    let output = self.substitute(list)?;
                    joined.push_str(output.trim_end_matches('\n'));
                }
                // In quotes they have no meaning; `check.rs` refuses others.
                WordPart::Tilde => joined.push('~'),
                WordPart::Brace(_) => {}
            }
        }
        Ok(joined)
    }
}

/// Fields in the making. The last one may still grow.
#[derive(Default)]
struct Fields {
    done: Vec<String>,
    open: Option<String>,
}

impl Fields {
    /// Adds text that is not split. Even an empty text makes a field.
    fn append(&mut self, text: &str) {
        self.open.get_or_insert_default().push_str(text);
    }

    /// Adds text that blanks split.
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
