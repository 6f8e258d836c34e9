//! The table of `hack/porcupine` in its document.

use std::process::Command;

use crate::tree::root;

const BEGIN: &str = "<!-- hack/porcupine -->";
const END: &str = "<!-- end of hack/porcupine -->";

/// Puts a table into a document; what the document is then, and whether the script was content.
fn put(document: &str, table: &str) -> (String, bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let (to, from) = (folder.path().join("document"), folder.path().join("table"));
    std::fs::write(&to, document).expect("a document");
    std::fs::write(&from, table).expect("a table");
    let mut script = Command::new(root().join("hack/porcupine"));
    let put = script.arg("--put").args([&to, &from]).status();
    let text = std::fs::read_to_string(&to).expect("a document");
    (text, put.expect("hack/porcupine starts").success())
}

#[test]
fn the_table_of_before_is_replaced_and_nothing_else() {
    let with = |table: &str| format!("before\n\n{BEGIN}\n{table}{END}\nbehind / \\1 &\n");
    let first = with("");
    let (second, done) = put(&first, "| a/b \\n & |\n");
    assert!(done);
    assert_eq!(second, with("| a/b \\n & |\n"));
    let (third, _) = put(&second, "| c |\n| d |\n");
    assert_eq!(third, with("| c |\n| d |\n"));
}

#[test]
fn a_document_without_its_place_is_left_as_it_is() {
    let document = format!("{BEGIN}\nno end\n");
    assert_eq!(put(&document, "| a |\n"), (document, false));
}
