//! Reads as much of a WebAssembly module as it takes to say what its bytes are spent on.

use std::collections::BTreeMap;

/// A part of a module and its size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) bytes: usize,
}

/// What a module is made of.
#[derive(Debug)]
pub(crate) struct Breakdown {
    /// The module without the names of its functions, as a page would load it.
    pub(crate) shipped: Vec<u8>,
    /// Code by crate (of core-sip by module), and everything else by section, the largest first.
    pub(crate) parts: Vec<Part>,
}

const HEADER: &[u8] = b"\0asm\x01\0\0\0";
const SECTION_CUSTOM: u8 = 0;
const SECTION_IMPORT: u8 = 2;
const SECTION_CODE: u8 = 10;
const IMPORT_FUNCTION: u8 = 0;
const NAMES_OF_FUNCTIONS: u8 = 1;

/// The crate that is told apart by module.
const OWN_CRATE: &str = "codex_core_sip";

/// Takes `module` apart; the error says what is wrong with it.
pub(crate) fn break_down(module: &[u8]) -> Result<Breakdown, &'static str> {
    let mut reader = Reader { rest: module.strip_prefix(HEADER).ok_or("it does not begin as a module of version 1")? };
    let mut shipped = HEADER.to_vec();
    let mut others: BTreeMap<String, usize> = BTreeMap::new();
    let mut names = BTreeMap::new();
    let mut bodies = Vec::new();
    let mut imported = 0;
    while !reader.rest.is_empty() {
        let before = reader.rest;
        let id = reader.byte()?;
        let length = reader.number()?;
        let content = reader.take(length)?;
        let section = &before[..before.len() - reader.rest.len()];
        match id {
            SECTION_CUSTOM => {
                let mut custom = Reader { rest: content };
                let name = custom.text()?;
                if name == "name" {
                    names = function_names(custom)?;
                    continue;
                }
                *others.entry(format!("[section {name}]")).or_default() += section.len();
            }
            SECTION_CODE => {
                let mut code = Reader { rest: content };
                for _ in 0..code.number()? {
                    let start = code.rest.len();
                    let length = code.number()?;
                    code.take(length)?;
                    bodies.push(start - code.rest.len());
                }
            }
            other => {
                if other == SECTION_IMPORT {
                    imported = imported_functions(content)?;
                }
                *others.entry(format!("[{}]", section_name(other))).or_default() += section.len();
            }
        }
        shipped.extend_from_slice(section);
    }
    let mut sizes = others;
    for (index, bytes) in bodies.into_iter().enumerate() {
        let owner = names.get(&(index + imported)).map_or_else(|| "[no name]".to_owned(), |symbol| owner(symbol));
        *sizes.entry(owner).or_default() += bytes;
    }
    let mut parts: Vec<Part> = sizes.into_iter().map(|(name, bytes)| Part { name, bytes }).collect();
    parts.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    Ok(Breakdown { shipped, parts })
}

fn section_name(id: u8) -> &'static str {
    match id {
        1 => "types",
        2 => "imports",
        3 => "function types",
        4 => "tables",
        5 => "memory",
        6 => "globals",
        7 => "exports",
        8 => "start",
        9 => "table contents",
        11 => "data: texts and tables",
        12 => "data count",
        13 => "tags",
        _ => "unknown",
    }
}

fn function_names(mut custom: Reader<'_>) -> Result<BTreeMap<usize, String>, &'static str> {
    let mut names = BTreeMap::new();
    while !custom.rest.is_empty() {
        let id = custom.byte()?;
        let length = custom.number()?;
        let mut content = Reader { rest: custom.take(length)? };
        if id == NAMES_OF_FUNCTIONS {
            for _ in 0..content.number()? {
                let index = content.number()?;
                names.insert(index, content.text()?);
            }
        }
    }
    Ok(names)
}

/// How many functions are imported: they come first in the numbering.
fn imported_functions(content: &[u8]) -> Result<usize, &'static str> {
    let mut imports = Reader { rest: content };
    let mut functions = 0;
    for _ in 0..imports.number()? {
        imports.text()?;
        imports.text()?;
        if imports.byte()? != IMPORT_FUNCTION {
            return Err("it imports something that is no function");
        }
        imports.number()?;
        functions += 1;
    }
    Ok(functions)
}

/// The crate that a function belongs to; for our own crate the module, two levels deep.
fn owner(symbol: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    // `<impl Serialize for codex_core_sip::event::IceState>::serialize` belongs to the type.
    let path = match name.split_once("<impl ").and_then(|(_, rest)| rest.split_once(" for ")) {
        Some((_, of_type)) => of_type,
        None => &name,
    };
    // `drop_in_place<T>` is code of T.
    let path = path.split_once("drop_in_place<").map_or(path, |(_, of_type)| of_type);
    let path = path.trim_start_matches(['<', '&', '*', '[', '(']);
    let path = ["dyn ", "mut ", "const "].iter().fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    let is_part_of_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let path = &path[..path.find(|c| !is_part_of_path(c)).unwrap_or(path.len())];
    let mut segments = path.split("::");
    match segments.next() {
        Some(OWN_CRATE) => {
            let is_module = |segment: &&str| segment.starts_with(|c: char| c.is_ascii_lowercase());
            let modules: Vec<&str> = segments.take_while(is_module).take(2).collect();
            [OWN_CRATE].into_iter().chain(modules).collect::<Vec<_>>().join("::")
        }
        Some(krate) if path.contains("::") => krate.to_owned(),
        _ => "[other]".to_owned(),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

const SHORT: &str = "it ends too early";

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let (first, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*first)
    }

    /// An unsigned LEB128 number of 32 bits.
    fn number(&mut self) -> Result<usize, &'static str> {
        let mut value: u64 = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).map_err(|_| "a number is too large");
            }
        }
        Err("a number is too long")
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let length = self.number()?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 0x80, "one byte of LEB128");
        [&[id, length], content].concat()
    }

    /// One import, two functions of 3 and 5 bytes, a name each, and a producers section.
    fn module() -> Vec<u8> {
        let imports = section(2, b"\x01\x01e\x01f\x00\x00");
        let code = section(10, b"\x02\x02\x00\x0b\x04\x00\x01\x01\x0b");
        let function_names = section(1, b"\x03\x00\x01f\x01\x0bcore::x::hi\x02\x18codex_core_sip::sip::uri");
        let names = section(0, &[&b"\x04name"[..], &function_names].concat());
        let producers = section(0, b"\x09producers\x00");
        [HEADER, &imports, &code, &names, &producers].concat()
    }

    #[test]
    fn code_is_told_apart_by_crate_and_names_are_not_shipped() {
        let breakdown = break_down(&module()).unwrap();
        let part = |name: &str, bytes| Part { name: name.to_owned(), bytes };
        assert_eq!(
            breakdown.parts,
            [
                part("[section producers]", 13),
                part("[imports]", 9),
                part("codex_core_sip::sip::uri", 5),
                part("core", 3)
            ]
        );
        assert_eq!(breakdown.shipped.len(), HEADER.len() + 9 + 11 + 13);
        assert!(!breakdown.shipped.windows(4).any(|w| w == b"name"));
    }

    #[test]
    fn what_is_no_module_or_ends_early_is_refused() {
        assert!(break_down(b"").is_err());
        assert!(break_down(b"\x7fELF").is_err());
        let whole = module();
        for end in HEADER.len() + 1..whole.len() {
            // Only between sections is there something to read.
            let _ = break_down(&whole[..end]);
        }
        assert!(break_down(&whole[..whole.len() - 1]).is_err());
    }

    #[test]
    fn a_function_belongs_to_the_crate_of_its_type() {
        for (symbol, expected) in [
            ("_ZN14codex_core_sip6random6Random5below17ha1ebbc517f16985fE", "codex_core_sip::random"),
            (
                "_ZN14codex_core_sip5event1_88_$LT$impl$u20$serde_core..ser..Serialize$u20$for$u20$codex_core_sip..event..IceState$GT$9serialize17hbd52debd797f6816E",
                "codex_core_sip::event",
            ),
            (
                "_ZN87_$LT$codex_core_sip..random..SeededRandom$u20$as$u20$codex_core_sip..random..Random$GT$4fill17hcd1b7dc8115454e2E",
                "codex_core_sip::random",
            ),
            ("_RNvMNtCs5cOc02OMXlo_5alloc6stringNtB2_6String4push", "alloc"),
            ("core::ptr::drop_in_place<codex_core_sip::sip::dialog::Dialog>", "codex_core_sip::sip::dialog"),
            ("memcpy", "[other]"),
        ] {
            assert_eq!(owner(symbol), expected, "{symbol}");
        }
    }
}
