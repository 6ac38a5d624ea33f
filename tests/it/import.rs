//! Patients from files: what spreadsheets and exports really write, and what is refused of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use outreachd::domain::consent::{merge, merge_patient};
use outreachd::domain::ids::PatientId;
use outreachd::domain::patient::{ConsentSource, Contact, Patient};
use outreachd::domain::phone::Region;
use outreachd::domain::problem::Problem;
use outreachd::domain::reader::{Expect, ParseDefaults};
use outreachd::domain::words::{Channel, Purpose};
use outreachd::intake::import::{COLUMNS, Import, ImportOptions, RefusedFile, Row, neutral};
use proptest::prelude::*;

fn options() -> ImportOptions {
    let updated_at = "2026-11-20T08:00:00Z".parse().ok();
    ImportOptions { defaults: ParseDefaults::new(None, Region::US), updated_at, format: None }
}

fn open(file: &[u8]) -> Result<Import<&[u8]>, Vec<Problem>> {
    Import::open(file, options())
}

fn rows(file: &[u8]) -> Vec<Row> {
    open(file).unwrap().collect()
}

/// The only row of a file, which is good.
fn one(file: &[u8]) -> Patient {
    let mut rows = rows(file);
    assert_eq!(rows.len(), 1);
    rows.remove(0).result.unwrap()
}

/// Channel and address of every contact.
fn contacts(patient: &Patient) -> Vec<(Channel, &str)> {
    patient.contacts.iter().map(|c| (c.channel, c.address.expose())).collect()
}

#[test]
fn a_spreadsheet_of_patients() {
    let file = "id,given,family,birth_date,language,timezone,postal_code,state,country,site,tags,mrn,phone,email,\
                preferred_channels,preferences.marketing,preferences.care,quiet_start,quiet_end,active,updated_at\r\n\
                P1,Ana,\"López, García\",1949-03-02,es-US,America/Chicago,60601,IL,US,lakeside-north,risk-1; flu ,77120,\
                (312) 555-0142,ana@example.org,sms;email,none,sms;voice,20:00,09:00,TRUE,2026-11-21T08:00:00Z\r\n";
    let ana = one(file.as_bytes());
    assert_eq!(ana.name.as_ref().unwrap().family.as_ref().unwrap().expose(), "López, García");
    assert_eq!(ana.tags, ["risk-1", "flu"]);
    assert_eq!(
        contacts(&ana),
        [
            (Channel::Email, "ana@example.org"),
            (Channel::Sms, "+13125550142"),
            (Channel::Voice, "+13125550142")
        ]
    );
    let preferences: Vec<_> = ana.preferences.iter().map(|p| (p.purpose, p.channels.len())).collect();
    assert_eq!(preferences, [(Purpose::Care, 2), (Purpose::Marketing, 0)]);
    assert_eq!(ana.updated_at, "2026-11-21T08:00:00Z".parse().ok());
    assert!(ana.active && ana.quiet_hours.is_some());
}

#[test]
fn separators_marks_and_names_as_programs_write_them() {
    for file in [
        &b"id,given,sms\nP1,Ana,+13125550142\n"[..],
        b"id;given;sms\r\nP1;Ana;+13125550142\r\n",
        b"id\tgiven\tsms\nP1\tAna\t+13125550142",
        b"\xef\xbb\xbfid,given,sms\nP1,Ana,'+13125550142\n",
        b"ID , Given,SMS\n\n P1 ,\"Ana\", 312-555-0142 \n\n",
        b"refused_because,sms,given,id,refused_line\nold,+13125550142,Ana,P1,7\n",
        b"{\"id\":\"P1\",\"name\":{\"given\":\"Ana\"},\"contacts\":[{\"channel\":\"sms\",\"address\":\"+13125550142\"}]}",
        b"\xef\xbb\xbf\n{\"id\":\"P1\",\"name\":{\"given\":\"Ana\"},\"contacts\":[{\"channel\":\"sms\",\"address\":\"+13125550142\"}]}\r\n\n",
    ] {
        let ana = one(file);
        assert_eq!(ana.name.as_ref().unwrap().given.as_ref().unwrap().expose(), "Ana");
        assert_eq!(contacts(&ana), [(Channel::Sms, "+13125550142")], "{}", String::from_utf8_lossy(file));
        assert_eq!(ana.updated_at, options().updated_at);
    }
}

#[test]
fn a_number_serves_sms_and_voice_unless_the_row_says_otherwise() {
    let of = |columns: &str, cells: &str| {
        let patient = one(format!("id,{columns}\nP1,{cells}\n").as_bytes());
        patient.contacts.iter().map(|c| format!("{} {}", c.channel, c.address.expose())).collect::<Vec<_>>()
    };
    let (a, b) = ("+13125550142", "+13125550143");
    assert_eq!(of("phone", a), [format!("sms {a}"), format!("voice {a}")]);
    assert_eq!(of("phone,sms", &format!("{a},{b}")), [format!("sms {b}"), format!("voice {a}")]);
    assert_eq!(of("phone,sms", &format!("{a},{a}")), [format!("sms {a}"), format!("voice {a}")]);
    assert_eq!(of("phone", "312-555-0142 x12"), [format!("voice {a}")]);
    assert!(of("phone,portal", ",").is_empty());
}

#[test]
fn files_that_cannot_be_read_at_all() {
    for (name, file, field, text) in [
        ("empty", &b""[..], "", "the file is empty"),
        ("blank", b"\xef\xbb\xbf \n", "", "the file is empty"),
        ("UTF-16 without a mark", b"i\0d\0", "", "NUL bytes"),
        ("a JSON array", b"[{\"id\":\"P1\"}]", "", "one patient a line, without brackets"),
        (
            "no names",
            b"P1,Ana,+13125550142\n",
            "column 1",
            "the first row names the columns; known are id, updated_at",
        ),
        ("an unknown column", b"id,shoe_size\n", "column 2", "unknown column"),
        ("an unknown purpose", b"id,preferences.fun\n", "column 2", "unknown column"),
        ("a column twice", b"id,sms,SMS\n", "column 3", "stands there twice"),
        ("no id", b"given,sms\n", "id", "name the column with the patient's id"),
    ] {
        let Err(faults) = open(file) else { panic!("{name} was taken") };
        assert_eq!(faults.first().map(|fault| fault.field.as_str()), Some(field), "{name}");
        let said: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert!(said.concat().contains(text), "{name}: {said:?}");
        assert!(!said.concat().contains("3125550142") && !said.concat().contains("Ana"), "{name}: {said:?}");
    }
}

#[test]
fn bad_rows_are_told_by_line_and_column_and_the_others_go_on() {
    let columns = "id,given,birth_date,language,phone,email,quiet_start,mrn,preferences.care,active\n";
    let blank = ["P1", "Ana", "", "", "", "", "", "", "", ""];
    for (name, at, cell, field, text) in [
        ("no id", 0, "", "id", "is required"),
        ("a bad id", 0, "P 1", "id", "1 to 128"),
        ("a day as in the US", 2, "3/2/1949", "birth_date", "write it as year-month-day"),
        ("a language's name", 3, "Spanish", "language", "BCP-47"),
        (
            "a rounded number",
            4,
            "1.31E+10",
            "phone",
            "a spreadsheet has rounded this number; format the column as text",
        ),
        ("a plus that got lost", 4, "525512345678", "phone", "write it with + and the country code"),
        ("an address with a name", 5, "Ana <a@b.example>", "email", "nothing around it"),
        ("half a span", 6, "20:00", "quiet_end", "is required"),
        (
            "a long number",
            7,
            "9999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999",
            "mrn",
            "at most 128 characters",
        ),
        ("an unknown channel", 8, "sms;fax", "preferences.care", "use one of: sms"),
        ("neither yes nor no", 9, "maybe", "active", "must be true or false"),
    ] {
        let mut cells = blank;
        cells[at] = cell;
        let file = format!("{columns}P0,Ana,,,,,,,,\n{}\nP2,Ana,,,,,,,,\n", cells.join(","));
        let rows = rows(file.as_bytes());
        let good: Vec<_> = rows.iter().map(|row| row.result.is_ok()).collect();
        assert_eq!(good, [true, false, true], "{name}");
        let bad = rows.into_iter().nth(1).unwrap();
        let told = bad.result.unwrap_err();
        assert_eq!((bad.line, told.len()), (3, 1), "{name}: {told:?}");
        assert_eq!(told.first().unwrap().field, field, "{name}");
        assert!(told.first().unwrap().to_string().contains(text), "{name}: {told:?}");
    }
}

#[test]
fn rows_that_do_not_fit_their_columns_or_their_encoding() {
    let file = b"id,given,sms\nP1,Ana\nP2,Mu\xf1oz,\nP3,Ana,,,\nP4,Ana,,x\n\"P5\",\"two\nlines\",\n";
    let rows = rows(file);
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (row.line, row.result.as_ref().err().map(|p| p.first().unwrap().to_string()).unwrap_or_default())
        })
        .collect();
    assert_eq!(told.len(), 5);
    assert!(told[0].1.contains("has 2 cells where the first row has 3"), "{told:?}");
    assert_eq!(told[1].1, "", "a letter of Windows-1252");
    assert_eq!(told[2].1, "", "empty cells at the end do no harm");
    assert!(told[3].1.contains("has 4 cells"), "{told:?}");
    assert!(told[4].1.contains("given: must not hold control characters"), "{told:?}");
    let lines: Vec<_> = told.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6]);
}

#[test]
fn a_quotation_mark_that_is_not_closed_does_not_swallow_memory() {
    let mut file = b"id,given\nP1,Ana\nP2,\"Ana\n".to_vec();
    file.extend(std::iter::repeat_n(&b"P3,Ana\n"[..], 400_000).flatten());
    let rows = rows(&file);
    assert_eq!(rows.len(), 2);
    assert!(rows[0].result.is_ok());
    let told = rows[1].result.as_ref().unwrap_err();
    assert!(told[0].to_string().contains("a quotation mark that is not closed"), "{told:?}");
}

#[test]
fn a_json_line_that_is_too_long_is_passed_over() {
    let mut file = br#"{"id":"P1"}"#.to_vec();
    file.extend(b"\n{\"id\":\"");
    file.extend(std::iter::repeat_n(b'x', 3_000_000));
    file.extend(b"\"}\nnonsense\n{\"id\":\"P4\",\"shoe\":1}\n{\"id\":\"P5\"}");
    let rows = rows(&file);
    let told: Vec<_> = rows.iter().map(|row| (row.line, row.result.is_ok())).collect();
    assert_eq!(told, [(1, true), (2, false), (3, false), (4, false), (5, true)]);
    assert_eq!(rows[3].result.as_ref().unwrap_err()[0].field, "shoe");
}

#[test]
fn a_file_with_some_columns_leaves_the_rest_of_a_patient_alone() {
    let stored = one(b"id,given,language,phone,email\nP1,Ana,es,+13125550142,ana@example.org\n");
    let later = one(b"id,email,language\nP1,new@example.org,\n");
    let merged = merge_patient(&stored, later).patient;
    assert_eq!((merged.name.is_some(), merged.language.as_deref()), (true, Some("es")));
    assert_eq!(
        contacts(&merged),
        [
            (Channel::Email, "new@example.org"),
            (Channel::Sms, "+13125550142"),
            (Channel::Voice, "+13125550142")
        ]
    );
}

/// A spreadsheet of numbers is no word about how they may be used, and its columns are no whole names and addresses.
#[test]
fn a_cell_takes_away_nothing_that_is_known_beside_it() {
    let record = r#"{"id":"P1","name":{"given":"Ana","family":"Ruiz"},
        "address":{"postal_code":"60601","state":"IL","country":"US"},
        "identifiers":[{"system":"urn:mrn","value":"77120"},{"system":"urn:other","value":"9"}],
        "contacts":[
            {"channel":"sms","address":"+13125550142","rank":2,"use":"mobile","kind":"mobile","status":"wrong",
             "verified_at":"2026-10-01T12:00:00Z","valid_until":"2027-10-01T12:00:00Z","private":true,"only":true},
            {"channel":"sms","address":"+13125550199"},
            {"channel":"voice","address":"+13125550142","leave_message":"none","extension":"12"},
            {"channel":"email","address":"Ana@example.org","private":true}]}"#;
    let stored = Patient::parse(record.as_bytes(), &options().defaults, Expect::default()).unwrap();
    let known = |channel, address: &str| {
        let is_it = |c: &&Contact| c.channel == channel && c.address.expose() == address;
        Contact { says_status: false, ..stored.contacts.iter().find(is_it).unwrap().clone() }
    };
    let sms = known(Channel::Sms, "+13125550142");
    assert!(sms.only && sms.private && sms.verified_at.is_some() && sms.valid_until.is_some());

    // The same numbers, and the same mailbox spelt in another way.
    let row = "id,given,postal_code,mrn,phone,email\nP1,Anna,60602,77120,+13125550142,ana@example.org\n";
    let after = merge_patient(&stored, one(row.as_bytes())).patient;
    let name = after.name.as_ref().unwrap();
    assert_eq!([&name.given, &name.family].map(|part| part.as_ref().unwrap().expose()), ["Anna", "Ruiz"]);
    let address = after.address.as_ref().unwrap();
    assert_eq!(address.postal_code.as_ref().unwrap().expose(), "60602");
    let place = (address.state.as_deref(), address.country.as_deref());
    assert_eq!(place, (None, Some("US")), "another code may lie in another state");
    assert_eq!(after.identifiers, stored.identifiers);
    let mail = known(Channel::Email, "Ana@example.org");
    assert_eq!(after.contacts, [mail.clone(), sms.clone(), known(Channel::Voice, "+13125550142")]);
    let again = merge_patient(&after, one(row.as_bytes()));
    assert!(!again.changed, "the same file again changes nothing");

    // Another number beside the one that nothing is to leave, and another id in the place of the one of its system.
    let row = "id,sms,mrn\nP1,+13125550143,77121\n";
    let after = merge_patient(&stored, one(row.as_bytes())).patient;
    let numbers: Vec<_> = after.contacts.iter().filter(|c| c.channel == Channel::Sms).collect();
    assert_eq!(numbers[0].address.expose(), "+13125550143");
    assert!(!numbers[0].only && !numbers[0].private && numbers[0].verified_at.is_none());
    assert_eq!(numbers[1..], [&sms], "and the plain one is replaced");
    assert!(after.former_channels.is_empty(), "what the row says nothing of is still there");
    let ids: Vec<_> = after.identifiers.iter().map(|one| one.value.expose()).collect();
    assert_eq!(ids, ["9", "77121"]);

    // A record as JSON says what it says: its contacts are replaced whole.
    let line = r#"{"id":"P1","contacts":[{"channel":"sms","address":"+13125550142"}]}"#;
    let after = merge_patient(&stored, one(line.as_bytes())).patient;
    assert_eq!(after.contacts.len(), 1);
    assert!(!after.contacts[0].only && !after.contacts[0].private);
}

#[test]
fn a_list_lifts_no_stop_whatever_it_says_of_itself() {
    let stop = r#"{"id":"P1","consents":[{"channel":"sms","granted":false,"at":"2026-10-01T12:00:00Z","source":"patient"}]}"#;
    let stored = Patient::parse(stop.as_bytes(), &options().defaults, Expect::default()).unwrap();
    for source in ["patient", "staff", "ehr", "import"] {
        let line = format!(
            r#"{{"id":"P1","consents":[{{"channel":"sms","granted":true,"at":"2026-11-01T12:00:00Z","source":"{source}","evidence":"form 12"}}]}}"#
        );
        let listed = one(line.as_bytes());
        assert_eq!(listed.consents.first().unwrap().source, ConsentSource::Import);
        let merged = merge(&stored.consents, listed.consents);
        assert!(!merged.first().unwrap().granted, "{source}");
    }
    // A revocation in a list stays the patient's.
    assert_eq!(one(stop.as_bytes()).consents.first().unwrap().source, ConsentSource::Patient);
}

#[test]
fn a_yes_in_do_not_contact_stops_and_a_no_says_nothing() {
    let of = |cell: &str| one(format!("id,do_not_contact\nP1,{cell}\n").as_bytes()).do_not_contact;
    assert_eq!(of("asked by letter").as_deref(), Some("asked by letter"));
    assert!(of("yes").is_some());
    assert!(of("FALSE").is_none() && of("").is_none());
}

#[test]
fn the_file_of_refused_rows_is_mended_and_comes_back() {
    let file = "id,given,sms,tags\nP1,\"=HYPERLINK(\"\"http://x\"\")\",5550142,-1+2\nP2,Ana,+13125550142,\nP3,@Ana,+1312,\n";
    let mut out = Vec::new();
    let import = open(file.as_bytes()).unwrap();
    let mut refused = RefusedFile::new(&mut out, &import.columns()).unwrap();
    for row in import {
        refused.write(&row).unwrap();
    }
    refused.finish().unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0], "\u{feff}id,given,sms,tags,refused_line,refused_because");
    assert!(
        lines[1].starts_with(r#"P1,"'=HYPERLINK(""http://x"")",5550142,'-1+2,2,sms: the number has too few"#),
        "{text}"
    );
    assert!(lines[2].starts_with("P3,'@Ana,'+1312,,4,sms: "), "{text}");
    let mended = text.replace("5550142", "3125550142").replace("'+1312,", "'+13125550142,");
    let back = rows(mended.as_bytes());
    let names: Vec<_> = back
        .iter()
        .map(|row| {
            row.result.as_ref().unwrap().name.as_ref().unwrap().given.as_ref().unwrap().expose().to_owned()
        })
        .collect();
    assert_eq!(names, ["=HYPERLINK(\"http://x\")", "@Ana"]);
}

#[test]
fn a_refused_json_line_is_written_whole() {
    let mut out = Vec::new();
    let import = open(br#"{"id":"P1","x":1}"#).unwrap();
    let mut refused = RefusedFile::new(&mut out, &import.columns()).unwrap();
    import.for_each(|row| refused.write(&row).unwrap());
    refused.finish().unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(r#""{""id"":""P1"",""x"":1}",1,"x: unknown field"#), "{text}");
}

#[test]
fn the_readme_lists_every_column() {
    let (_, table) = include_str!("../../README.md").split_once("| column | what stands in it |\n").unwrap();
    let rows = table.lines().map_while(|line| line.strip_prefix('|'));
    let names = rows.filter_map(|row| row.split('|').next()).filter(|cell| cell.contains('`'));
    let listed: Vec<&str> =
        names.flat_map(|cell| cell.split(['`', ' ']).filter(|name| !name.is_empty())).collect();
    assert_eq!(listed, [&COLUMNS[..], &["preferences.PURPOSE"][..]].concat());
    // What is shown there for each is taken.
    let file = format!(
        "{},preferences.care\n\
         P1,2026-11-20T08:00:00Z,Ana,Lopez,1949-03-02,es,America/Chicago,60601,IL,US,north,risk-1; flu,77120,y,0,\
         moved away,2026-12-01T00:00:00Z,sms; email,20:00,09:00,+13125550142,+13125550143,+13125550144,\
         ana@example.org,Patient/42,sms; voice\n",
        COLUMNS.join(",")
    );
    assert_eq!(contacts(&one(file.as_bytes())).len(), 4);
}

#[test]
fn nothing_of_a_row_is_in_what_debug_prints() {
    let rows = rows(b"id,given,email\nP1,Zyxwvu,not-an-address\nP2,Zyxwvu,a@b.example\n");
    let said = format!("{rows:?}");
    assert!(
        !said.contains("Zyxwvu") && !said.contains("not-an-address") && !said.contains("b.example"),
        "{said}"
    );
}

/// Reads a file to its end; what is refused says why.
fn read_through(file: &[u8]) -> Result<(), TestCaseError> {
    match open(file) {
        Err(faults) => prop_assert!(!faults.is_empty()),
        Ok(import) => {
            let mut refused = RefusedFile::new(Vec::new(), &import.columns()).unwrap();
            for row in import {
                prop_assert!(row.result.as_ref().err().is_none_or(|faults| !faults.is_empty()));
                refused.write(&row).unwrap();
            }
            refused.finish().unwrap();
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_file_makes_the_import_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_through(&bytes)?;
        let named = [b"id,given,phone,tags,preferences.care,quiet_start\n".as_slice(), &bytes].concat();
        read_through(&named)?;
        read_through(&[b"{\"id\":\"P1\"}\n".as_slice(), &bytes].concat())?;
    }

    #[test]
    fn no_cell_makes_the_import_panic(cells in prop::collection::vec("\\PC{0,12}", 25)) {
        let mut file = csv::Writer::from_writer(Vec::new());
        file.write_record(COLUMNS).unwrap();
        file.write_record(&cells).unwrap();
        read_through(&file.into_inner().unwrap())?;
    }

    #[test]
    fn no_cell_begins_a_formula(cell in "[=+@\\-\t\r\n' a1(]{0,6}") {
        prop_assert!(!neutral(&cell).starts_with(['=', '+', '-', '@', '\t', '\r', '\n']));
    }
}

#[test]
fn ids_in_files_keep_their_form() {
    let patient = one(b"id\n007\n");
    assert_eq!(patient.id, PatientId::parse("007").unwrap());
}
