//! Workbooks and texts that somebody has damaged, or made to damage: each is read or refused, row by row or as a whole.
//! `PROPTEST_CASES` says how many cases.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::support::cases;

const PIECES: &[&str] = &[
    "<row>",
    "</row>",
    r#"<row r="0">"#,
    r#"<row r="4294967295">"#,
    r#"<row r="99999999999999999999">"#,
    r#"<c r="A1">"#,
    "</c>",
    r#"<c r="">"#,
    r#"<c r="XFE1048577" t="s">"#,
    r#"<c r="ZZZZZZZZZZ9">"#,
    r#"<c r="A1" t="inlineStr">"#,
    r#"<c t="b" s="99999">"#,
    r#"<c t="e">"#,
    r#"<c t="d" s="1">"#,
    "<v>",
    "</v>",
    "<v>-1</v>",
    "<v>1e309</v>",
    "<v>NaN</v>",
    "<v>4294967295</v>",
    "<v>2958466</v>",
    "<is>",
    "</is>",
    "<t>",
    "</t>",
    "<si>",
    "</si>",
    r#"<sst uniqueCount="3">"#,
    "</sst>",
    "<f>",
    "</f>",
    r#"<f t="shared" si="9"/>"#,
    "</sheetData>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "&lt;",
    "&#0;",
    "&nope;",
    "&#x110000;",
    "<?x?>",
    "<",
    ">",
    "\"",
    "P1",
    "42",
    "ñ",
    "\u{feff}",
];

/// A piece of a sheet as no Excel writes it.
fn pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(select(PIECES.to_vec()), 0..24).prop_map(|pieces| pieces.concat())
}

/// Reads a file to its end; what is refused says why, and nothing takes long.
fn read_through(file: &[u8]) -> Result<(), TestCaseError> {
    let started = Instant::now();
    let options =
        ImportOptions { defaults: ParseDefaults::new(None, Region::US), updated_at: None, format: None };
    match Import::open(file, options) {
        Err(faults) => prop_assert!(!faults.is_empty()),
        Ok(import) => {
            for row in import.take(10_000) {
                prop_assert!(row.result.as_ref().err().is_none_or(|faults| !faults.is_empty()));
            }
        }
    }
    prop_assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    Ok(())
}

fn good() -> String {
    format!(
        r#"<row r="1">{}{}{}</row><row r="2">{}{}{}</row>"#,
        text("A1", "id"),
        text("B1", "sms"),
        text("C1", "birth_date"),
        number("A2", 2, "42"),
        number("B2", 0, "13125550142"),
        number("C2", 1, "46374"),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(64), ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_workbook_does_more_than_spoil_it(changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6), cut in any::<Option<Index>>()) {
        let mut file = workbook(&good(), "<sst/>");
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        read_through(&file)?;
    }

    #[test]
    fn no_sheet_is_too_strange(at in any::<Index>(), strange in pieces(), texts in pieces(), whole in any::<bool>()) {
        let mut rows = good();
        let places: Vec<usize> = (0..=rows.len()).filter(|at| rows.is_char_boundary(*at)).collect();
        rows.insert_str(*at.get(&places), &strange);
        read_through(&workbook(if whole { &strange } else { &rows }, &format!("<sst>{texts}</sst>")))?;
    }

    #[test]
    fn no_damage_to_a_text_in_any_encoding_does_more_than_spoil_it(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..6), encoding in 0..4,
    ) {
        let text = "id;given;sms;tags\r\nP1;\"Mu\u{f1}oz; \"\"Ana\"\"\";+13125550142;a,b\r\nP2;Ana;(312) 555-0143;\r\n";
        let units = || std::iter::once(0xfeff_u16).chain(text.encode_utf16());
        let mut file: Vec<u8> = match encoding {
            0 => text.into(),
            1 => units().flat_map(u16::to_be_bytes).collect(),
            2 => units().flat_map(u16::to_le_bytes).collect(),
            _ => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect(),
        };
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        read_through(&file)?;
    }
}
