//! Lists as Excel saves them: workbooks, UTF-16, Windows-1252.

use std::io::{Cursor, Write as _};

use outreachd::domain::phone::Region;
use outreachd::domain::reader::ParseDefaults;
use outreachd::intake::import::{Audience, AudienceOptions, FirstRows, Import, ImportOptions};
use zip::write::SimpleFileOptions;

mod hostile;

/// A workbook of one sheet. `rows` is what stands in its `sheetData`; style 1 shows a day, 2 five digits, 3 an exponent.
pub(crate) fn workbook(rows: &str, texts: &str) -> Vec<u8> {
    const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
    const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    const OF: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in [
        (
            "[Content_Types].xml",
            format!(
                r#"<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>"#
            ),
        ),
        (
            "_rels/.rels",
            format!(
                r#"<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" Type="{OF}/officeDocument" Target="xl/workbook.xml"/></Relationships>"#
            ),
        ),
        (
            "xl/workbook.xml",
            format!(
                r#"<workbook xmlns="{MAIN}" xmlns:r="{OF}"><sheets><sheet name="Old" sheetId="1" state="hidden" r:id="r9"/><sheet name="People" sheetId="2" r:id="r1"/></sheets></workbook>"#
            ),
        ),
        (
            "xl/_rels/workbook.xml.rels",
            format!(
                r#"<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" Type="{OF}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r9" Type="{OF}/worksheet" Target="worksheets/sheet9.xml"/><Relationship Id="r2" Type="{OF}/styles" Target="styles.xml"/><Relationship Id="r3" Type="{OF}/sharedStrings" Target="sharedStrings.xml"/></Relationships>"#
            ),
        ),
        (
            "xl/styles.xml",
            format!(
                r#"<styleSheet xmlns="{MAIN}"><numFmts count="2"><numFmt numFmtId="164" formatCode="00000"/><numFmt numFmtId="165" formatCode="0.00E+00"/></numFmts><cellXfs count="4"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/></cellXfs></styleSheet>"#
            ),
        ),
        ("xl/sharedStrings.xml", texts.to_owned()),
        (
            "xl/worksheets/sheet1.xml",
            format!(r#"<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>"#),
        ),
        ("xl/worksheets/sheet9.xml", format!(r#"<worksheet xmlns="{MAIN}"><sheetData/></worksheet>"#)),
    ] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(
            if name == "xl/sharedStrings.xml" { text.clone() } else { format!("{HEAD}{text}") }.as_bytes(),
        )
        .unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A cell of text.
fn text(place: &str, text: &str) -> String {
    format!(r#"<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>"#)
}

fn number(place: &str, style: u32, number: &str) -> String {
    format!(r#"<c r="{place}" s="{style}"><v>{number}</v></c>"#)
}

fn audience(file: &[u8]) -> Audience<&[u8]> {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/templates"));
    let options = AudienceOptions {
        defaults: ParseDefaults::new(None, Region::US),
        format: None,
        template: "vaccine-invitation".parse_name(),
        catalogue: outreachd::app::load_catalogue(folder).unwrap().current(),
        data: serde_json::json!({"vaccine": "influenza", "free": true}).as_object().unwrap().clone(),
    };
    Audience::open(file, options).unwrap()
}

trait Named {
    fn parse_name(&self) -> outreachd::domain::ids::TemplateName;
}

impl Named for str {
    fn parse_name(&self) -> outreachd::domain::ids::TemplateName {
        outreachd::domain::ids::TemplateName::parse(self).unwrap()
    }
}

#[test]
fn a_workbook_is_read_as_excel_shows_it_and_what_it_has_spoilt_is_refused() {
    let rows = [
        // The names stand in the third row, and a row between is empty.
        format!(
            r#"<row r="3">{}{}{}</row>"#,
            text("A3", "Patient ID"),
            text("B3", "SMS"),
            text("C3", "Until")
        ),
        format!(
            r#"<row r="4">{}{}{}</row>"#,
            number("A4", 2, "42"),
            number("B4", 0, "13125550142"),
            number("C4", 1, "46374")
        ),
        format!(
            r#"<row r="6">{}{}{}</row>"#,
            text("A6", "P6"),
            number("B6", 3, "13125550143"),
            number("C6", 1, "46374")
        ),
        format!(
            r#"<row r="7">{}{}</row>"#,
            number("A7", 0, "43"),
            text("B7", "+13125550144") + &number("C7", 1, "46374")
        ),
        format!(r#"<row r="8">{}<c r="C8" t="e"><v>#N/A</v></c></row>"#, text("A8", "P8")),
    ];
    let file = workbook(&rows.concat(), "<sst/>");
    let mut audience = audience(&file);
    let read: Vec<_> = audience.by_ref().collect();
    let told: Vec<(u64, String)> = read
        .iter()
        .map(|row| match &row.result {
            Ok(member) => (row.line, member.patient.to_string()),
            Err(problems) => (row.line, problems[0].to_string()),
        })
        .collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[0], (4, "00042".to_owned()));
    let first = read[0].result.as_ref().unwrap();
    assert_eq!(first.body.data["until"], "2026-12-18", "a day that can be read in one way only");
    assert_eq!(first.body.patient.as_ref().unwrap().contacts[0].address.expose(), "+13125550142");
    for ((line, text), (row, column)) in told[1..].iter().zip([(6, "sms"), (7, "patient_id"), (8, "until")]) {
        assert!(*line == row && text.starts_with(column), "row {line}: {text}");
    }
    let FirstRows { columns, rows } = audience.first_rows().masked();
    assert_eq!(columns, ["patient_id", "sms", "until"]);
    let shown: Vec<Vec<&str>> =
        rows.iter().map(|row| row.cells.iter().map(|c| c.expose()).collect()).collect();
    assert_eq!((rows[0].line, &shown[0]), (4, &vec!["00042", "***", "***"]));
    assert_eq!(rows.len(), 4);
}

#[test]
fn a_workbook_that_is_none_or_too_much_is_refused_as_a_whole() {
    let options =
        || ImportOptions { defaults: ParseDefaults::new(None, Region::US), updated_at: None, format: None };
    let bomb = workbook("", r#"<sst uniqueCount="99999999999"/>"#);
    let cut = workbook("", "<sst/>");
    for (name, file, rule) in [
        ("an archive", &b"PK\x03\x04..."[..], "damaged"),
        ("an old workbook", b"\xd0\xcf\x11\xe0", "old kind"),
        ("a bomb", &bomb, "too large"),
        ("half of one", &cut[..cut.len() / 2], "damaged"),
        ("one without rows", &cut, "required"),
    ] {
        let Err(problems) = Import::open(file, options()) else { panic!("{name} was taken") };
        assert!(problems[0].rule.contains(rule) && !problems[0].cure.is_empty(), "{name}: {problems:?}");
    }
}

#[test]
fn texts_of_other_encodings_are_read() {
    let text = "patient_id;until\r\nP1;2026-12-18\r\nP\u{f1};2026-12-18\r\nP3;2026-12-18\r\n";
    let wide = |big: bool| -> Vec<u8> {
        let units = std::iter::once(0xfeff_u16).chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let old: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    for file in [wide(true), wide(false), old] {
        let rows: Vec<_> = audience(&file).collect();
        let good: Vec<bool> = rows.iter().map(|row| row.result.is_ok()).collect();
        assert_eq!(good, [true, false, true]);
        assert_eq!(rows[1].line, 3);
        assert_eq!(rows[1].original[0].expose(), "P\u{f1}", "as it was meant");
    }
    // Two files in one: what cannot be told is refused.
    let mixed = b"id,given\nP1,Mu\xf1oz\nP2,Mu\xc3\xb1oz\n";
    let rows: Vec<_> = Import::open(
        &mixed[..],
        ImportOptions { defaults: ParseDefaults::new(None, Region::US), updated_at: None, format: None },
    )
    .unwrap()
    .collect();
    assert!(rows[0].result.is_ok());
    assert!(rows[1].result.as_ref().unwrap_err()[0].rule.contains("another encoding"));
}
