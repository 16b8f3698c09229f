//! `tests/ui/command`

use crate::common::text;
use crate::subject::Subject;

pub(crate) fn command_argv0(subject: &Subject) {
    let name = |arg0: Option<&str>| {
        let mut command = subject.act(["name"]);
        if let Some(arg0) = arg0 {
            command.arg0(arg0);
        }
        text(&command.output().unwrap().stdout).trim_end().to_owned()
    };
    assert_eq!(name(Some("exciting-name")), "exciting-name");
    assert_eq!(name(Some("")), "");
    assert_eq!(name(None), subject.act([""; 0]).get_program().to_str().unwrap());
}
