//! What patients are answered, a table a language. Short, so that one SMS holds it; nothing about anybody, for who reads
//! it is not known; no marketing (47 CFR 64.1200(a)(12)).

/// The fixed texts of one language. `{name}` is who writes, `{call}` how to reach them, `{emergency}` whom to call.
pub(super) struct Texts {
    /// BCP-47.
    tag: &'static str,
    pub(super) stopped: &'static str,
    /// The word may have been meant for a visit.
    pub(super) stopped_visit: &'static str,
    pub(super) started: &'static str,
    pub(super) help: &'static str,
    pub(super) safety: &'static str,
    pub(super) language: &'static str,
    /// What `{call}` becomes where a phone is known; it ends with a space.
    pub(super) call: &'static str,
}

const ALL: [&Texts; 3] = [&ENGLISH, &SPANISH, &CHINESE];

/// The table for a language, by its first part; English for those that have none.
pub(super) fn in_language(tag: &str) -> &'static Texts {
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    ALL.into_iter().find(|texts| primary(texts.tag) == primary(tag)).unwrap_or(&ENGLISH)
}

const ENGLISH: Texts = Texts {
    tag: "en",
    stopped: "{name}: You will get no more texts from us at this number. Reply START to get them again.",
    stopped_visit: "{name}: You will get no more texts from us at this number. If you meant your visit, we will check. \
        {call}Reply START to get texts again.",
    started: "{name}: You will get texts from us again. Reply HELP for help, STOP to stop.",
    help: "{name} texts you about visits and care. {call}In an emergency call {emergency}. Reply STOP to stop.",
    safety: "Nobody reads this right now. If you or someone else may be in danger, call {emergency} now.",
    language: "{name}: From now on we write to you in English. Para español, responda ESPAÑOL.",
    call: "Call us: {phone}. ",
};

const SPANISH: Texts = Texts {
    tag: "es",
    stopped: "{name}: No recibirá más mensajes nuestros en este número. Responda START para recibirlos otra vez.",
    stopped_visit: "{name}: No recibirá más mensajes nuestros en este número. Si se refería a su cita, lo revisaremos. \
        {call}Responda START para recibir mensajes otra vez.",
    started: "{name}: Recibirá nuestros mensajes otra vez. Responda AYUDA para ayuda, ALTO para no recibir más.",
    help: "{name} le escribe sobre citas y cuidados. {call}En una emergencia llame al {emergency}. Responda ALTO para \
        no recibir más.",
    safety: "Nadie lee esto ahora mismo. Si usted u otra persona puede estar en peligro, llame al {emergency} ahora.",
    language: "{name}: Desde ahora le escribimos en español. For English, reply ENGLISH.",
    call: "Llámenos: {phone}. ",
};

const CHINESE: Texts = Texts {
    tag: "zh-Hans",
    stopped: "{name}：我们不会再向此号码发送短信。回复 START 可重新接收。",
    stopped_visit: "{name}：我们不会再向此号码发送短信。如果您是指预约，我们会核实。{call}回复 START 可重新接收短信。",
    started: "{name}：您将重新收到我们的短信。回复 HELP 获取帮助，回复 STOP 停止接收。",
    help: "{name}就预约和护理事宜向您发送短信。{call}紧急情况请拨打 {emergency}。回复 STOP 停止接收。",
    safety: "目前无人查看此短信。如果您或他人可能有危险，请立即拨打 {emergency}。",
    language: "{name}：今后我们将用中文给您发短信。For English, reply ENGLISH.",
    call: "请致电 {phone}。",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_its_table_and_the_others_have_english() {
        for (tag, expected) in [
            ("es-MX", "es"),
            ("ES", "es"),
            ("en-GB", "en"),
            ("zh", "zh-Hans"),
            ("zh-Hant-TW", "zh-Hans"),
            ("vi", "en"),
            ("", "en"),
        ] {
            assert_eq!(in_language(tag).tag, expected, "{tag}");
        }
    }

    #[test]
    fn the_texts_that_the_law_asks_for_say_what_they_must() {
        for texts in ALL {
            assert!(texts.stopped.contains("{name}") && texts.stopped.contains("START"), "{}", texts.tag);
            assert!(texts.help.contains("{name}") && texts.help.contains("{call}"), "{}", texts.tag);
            assert!(
                texts.safety.contains("{emergency}") && !texts.safety.contains("{name}"),
                "{}",
                texts.tag
            );
            assert!(texts.call.contains("{phone}"));
        }
    }
}
