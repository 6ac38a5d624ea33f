//! Who answers for which texts.

use outreachd::domain::ids::TemplateName;
use outreachd::domain::sign_off::Word;

use super::ledger::Ledger;

pub(super) async fn a_sign_off_is_of_exactly_these_texts_until_it_is_taken_back(ledger: Ledger) {
    let (note, other) = (TemplateName::parse("note").unwrap(), TemplateName::parse("other").unwrap());
    let word = |locale, by, note_of| Word { template: &note, locale, by, note: note_of };
    let es = word("es", "ana", "read with a nurse");
    assert!(ledger.sign_offs().await.unwrap().of(&note, "es").is_empty());
    assert!(!ledger.take_back_sign_off(&es).await.unwrap(), "nothing stands");

    let before = ledger.now().await;
    ledger.sign_off(&es, "one").await.unwrap();
    ledger.sign_off(&word("es", "ben", "mended"), "two").await.unwrap();
    ledger.sign_off(&word("zh-Hans", "ana", ""), "one").await.unwrap();
    ledger.sign_off(&Word { template: &other, ..es }, "one").await.unwrap();
    let said = ledger.sign_offs().await.unwrap();
    let mut of: Vec<_> = said
        .of(&note, "es")
        .iter()
        .map(|w| (w.hash.as_str(), w.stands, w.by.as_str(), w.note.as_str()))
        .collect();
    of.sort_unstable();
    assert_eq!(of, [("one", true, "ana", "read with a nurse"), ("two", true, "ben", "mended")]);
    assert!(said.of(&note, "es").iter().all(|word| word.at >= before), "by the ledger's clock");

    // All versions at once, and of one locale alone.
    assert!(ledger.take_back_sign_off(&word("es", "cleo", "wrong number")).await.unwrap());
    assert!(!ledger.take_back_sign_off(&word("es", "cleo", "again")).await.unwrap());
    let said = ledger.sign_offs().await.unwrap();
    assert!(said.of(&note, "es").iter().all(|w| !w.stands && w.by == "cleo" && w.note == "wrong number"));
    assert!(said.of(&note, "zh-Hans").iter().chain(said.of(&other, "es")).all(|word| word.stands));

    // Signed off again, and what was long ago is forgotten.
    ledger.sign_off(&es, "one").await.unwrap();
    let said = ledger.sign_offs().await.unwrap();
    assert_eq!(said.of(&note, "es").iter().filter(|word| word.stands).count(), 1);
    for n in 0..20 {
        ledger.sign_off(&es, &format!("text {n:02}")).await.unwrap();
    }
    let said = ledger.sign_offs().await.unwrap();
    assert_eq!(said.of(&note, "es").len(), 8);
    assert_eq!((said.of(&note, "zh-Hans").len(), said.of(&other, "es").len()), (1, 1));
}
