//! Which module of a crate names which: paths read from the source, re-exports followed to where the item lies.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{declared_module, folder_of_children};

/// Path of a module inside its crate; the root is empty.
pub(crate) type Module = Vec<String>;

/// The modules of one crate and what each names.
pub(crate) struct Crate {
    code: BTreeMap<Module, String>,
    imports: BTreeMap<Module, Vec<Import>>,
}

/// A name that a module brings in, and the path that it stands for.
struct Import {
    name: String,
    path: Module,
    reexported: bool,
}

impl Crate {
    /// Reads a crate from the code of its files; `src` is the folder of its root.
    pub(crate) fn read(src: &str, files: &[(String, String)]) -> Self {
        let has_library = files
            .iter()
            .any(|(name, _)| *name == format!("{src}/lib.rs"));
        let mut code = BTreeMap::new();
        for (name, text) in files {
            let Some(inside) = name.strip_prefix(&format!("{src}/")) else {
                continue;
            };
            // A binary beside a library is a crate of its own.
            if has_library && inside == "main.rs" || inside.starts_with("bin/") {
                continue;
            }
            let folder = folder_of_children(inside);
            let module = folder.split('/').filter(|part| !part.is_empty());
            code.insert(module.map(str::to_owned).collect::<Module>(), text.clone());
        }
        let mut read = Self {
            code,
            imports: BTreeMap::new(),
        };
        for (module, text) in &read.code {
            let imports = imports(module, text, &read.children(module));
            read.imports.insert(module.clone(), imports);
        }
        read
    }

    /// The modules.
    pub(crate) fn modules(&self) -> impl Iterator<Item = &Module> {
        self.code.keys()
    }

    fn children(&self, module: &Module) -> BTreeSet<String> {
        self.code
            .get(module)
            .into_iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| declared_module(line.trim()))
            .filter(|name| self.code.contains_key(&child(module, name)))
            .map(str::to_owned)
            .collect()
    }

    /// The module in which the item of a path lies.
    fn resolve(&self, path: &[String], depth: usize) -> Module {
        let mut at = Module::new();
        for (number, name) in path.iter().enumerate() {
            let next = child(&at, name);
            if self.code.contains_key(&next) {
                at = next;
                continue;
            }
            let import = self.imports[&at].iter().find(|import| import.name == *name);
            if let Some(import) = import
                && depth < 8
                && import.path != path[..=number]
            {
                let rest = &path[number + 1..];
                return self.resolve(&[&import.path[..], rest].concat(), depth + 1);
            }
            break;
        }
        at
    }

    /// What each module names, other than itself. A re-export alone names nothing.
    pub(crate) fn uses(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let mut uses = BTreeMap::new();
        for (module, text) in &self.code {
            let children = self.children(module);
            let mut paths: Vec<Module> = self.imports[module]
                .iter()
                .filter(|import| !import.reexported)
                .map(|import| import.path.clone())
                .collect();
            // `network::inject(...)`, where `network` is a child or was brought in.
            let mut short: BTreeMap<&str, Module> = children
                .iter()
                .map(|name| (name.as_str(), child(module, name)))
                .collect();
            for import in &self.imports[module] {
                short.insert(&import.name, import.path.clone());
            }
            for tree in inline_paths(&declarations(text).1) {
                if let Some(path) = absolute(module, &tree, &short) {
                    paths.push(path);
                }
            }
            let named: BTreeSet<Module> = paths
                .iter()
                .map(|path| self.resolve(path, 0))
                .filter(|used| used != module)
                .collect();
            uses.insert(module.clone(), named);
        }
        uses
    }
}

fn child(module: &Module, name: &str) -> Module {
    let mut path = module.clone();
    path.push(name.to_owned());
    path
}

/// A path as it is written, from the root of the crate; none if it leads out of it.
fn absolute(module: &Module, path: &[String], short: &BTreeMap<&str, Module>) -> Option<Module> {
    let mut base = module.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => (base, rest) = (Module::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        name => (base, rest) = (short.get(name)?.clone(), &path[1..]),
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// What the `use` declarations of a module bring in.
fn imports(module: &Module, text: &str, children: &BTreeSet<String>) -> Vec<Import> {
    let short: BTreeMap<&str, Module> = children
        .iter()
        .map(|name| (name.as_str(), child(module, name)))
        .collect();
    let mut found = Vec::new();
    for (reexported, tree) in declarations(text).0 {
        for (path, name) in leaves(tree) {
            if let Some(path) = absolute(module, &path, &short) {
                found.push(Import {
                    name,
                    path,
                    reexported,
                });
            }
        }
    }
    found
}

/// The trees of the `use` declarations, whether each is a re-export, and the code without them.
fn declarations(text: &str) -> (Vec<(bool, &str)>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    for statement in text.split(';') {
        let declaration = statement.rfind("use ").and_then(|begin| {
            let line = statement[..begin].rfind('\n').map_or(0, |at| at + 1);
            let before = statement[line..begin].trim();
            (before.is_empty() || before.starts_with("pub")).then_some((line, begin, before))
        });
        if let Some((line, begin, before)) = declaration {
            found.push((before.starts_with("pub"), statement[begin + 4..].trim()));
            rest.push_str(&statement[..line]);
        } else {
            rest.push_str(statement);
        }
        rest.push(';');
    }
    (found, rest)
}

/// Paths of a `use` tree, with the name that each brings in.
fn leaves(tree: &str) -> Vec<(Module, String)> {
    let tree = tree.trim();
    if let Some((before, group)) = tree.split_once('{') {
        let prefix = segments(before);
        let group = group.strip_suffix('}').unwrap_or(group);
        return split_group(group)
            .into_iter()
            .flat_map(leaves)
            .map(|(path, name)| ([&prefix[..], &path[..]].concat(), name))
            .map(|(mut path, name)| {
                // `faults::{self, inject}` brings in `faults`.
                if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                    path.pop();
                    let last = path.last().cloned().unwrap_or_default();
                    return (path, if name == "self" { last } else { name });
                }
                (path, name)
            })
            .collect();
    }
    let (path, renamed) = tree
        .split_once(" as ")
        .map_or((tree, None), |(path, name)| (path, Some(name.trim())));
    let path = segments(path);
    let Some(last) = path.last().cloned() else {
        return Vec::new();
    };
    vec![(path, renamed.map_or(last, str::to_owned))]
}

fn segments(path: &str) -> Module {
    path.split("::")
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Splits at the commas that are outside braces.
fn split_group(group: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[begin..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Paths of two names and more anywhere in the code.
fn inline_paths(text: &str) -> Vec<Module> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    text.split(|c| !is_path(c))
        .filter(|path| path.contains("::") && !path.starts_with(':'))
        .map(segments)
        .collect()
}

/// Sets of modules each of which names, by way of the others, itself.
pub(crate) fn circles(uses: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = uses
        .keys()
        .map(|module| (module, reachable(uses, module)))
        .collect();
    let mut found: BTreeSet<BTreeSet<Module>> = BTreeSet::new();
    for (module, reach) in &reached {
        if reach.contains(module) {
            let circle = reach
                .iter()
                .filter(|other| {
                    reached
                        .get(*other)
                        .is_some_and(|back| back.contains(module))
                })
                .map(|other| (*other).clone());
            found.insert(circle.collect());
        }
    }
    found.into_iter().collect()
}

fn reachable<'a>(
    uses: &'a BTreeMap<Module, BTreeSet<Module>>,
    from: &'a Module,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for used in uses.get(module).into_iter().flatten() {
            if reached.insert(used) {
                next.push(used);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Crate {
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(name, text)| (format!("a/src/{name}"), (*text).to_owned()))
            .collect();
        Crate::read("a/src", &files)
    }

    fn named(circles: &[BTreeSet<Module>]) -> Vec<String> {
        circles
            .iter()
            .map(|circle| {
                circle
                    .iter()
                    .map(|m| m.join("::"))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    #[test]
    fn a_planted_circle_is_found() {
        let one = ("one.rs", "use crate::two::{self, Two};\nfn f() {}\n");
        let root = ("lib.rs", "pub mod one;\nmod two;\n");
        let opened = read(&[root, one, ("two.rs", "struct Two;\n")]);
        assert!(circles(&opened.uses()).is_empty());
        let closed = read(&[
            root,
            one,
            ("two.rs", "struct Two;\nfn g() { crate::one::f() }\n"),
        ]);
        assert_eq!(named(&circles(&closed.uses())), ["one two"]);
    }

    #[test]
    fn reexports_are_followed_and_are_no_use_of_their_own() {
        let files = [
            ("lib.rs", "mod faults;\n"),
            (
                "faults/mod.rs",
                "mod kill;\nmod running;\npub(crate) use running::Running;\n",
            ),
            ("faults/kill.rs", "use super::Running;\n"),
            ("faults/running.rs", "pub(crate) trait Running {}\n"),
        ];
        assert!(circles(&read(&files).uses()).is_empty());
        let mut closed = files;
        closed[1].1 =
            "mod kill;\nmod running;\npub(crate) use running::Running;\nfn f() { kill::g() }\n";
        closed[2].1 = "use super::{Running, f};\n";
        assert_eq!(
            named(&circles(&read(&closed).uses())),
            ["faults faults::kill"]
        );
    }

    #[test]
    fn modules_that_were_brought_in_are_followed() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\n"),
            ("a.rs", "use crate::b;\nfn f() { b::c::g() }\n"),
            ("b.rs", "mod c;\n"),
            ("b/c.rs", "use super::super::a::f as h;\n"),
        ];
        assert_eq!(named(&circles(&read(&files).uses())), ["a b::c"]);
    }
}
