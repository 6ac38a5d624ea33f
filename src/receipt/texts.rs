//! What patients are answered, a table a language. Short, so that one SMS holds it; nothing about anybody, for who reads
//! it is not known; no marketing (47 CFR 64.1200(a)(12)).

use crate::domain::words::{Channel, Purpose};

/// The fixed texts of one language. `{name}` is who writes, `{call}` how to reach them, `{emergency}` whom to call.
pub(super) struct Texts {
    /// BCP-47.
    pub(super) tag: &'static str,
    pub(super) stopped: Stopped,
    /// The word may have been meant for a visit.
    pub(super) stopped_visit: Stopped,
    /// Texts go on.
    pub(super) stopped_calls: &'static str,
    pub(super) started: &'static str,
    pub(super) help: &'static str,
    pub(super) safety: &'static str,
    pub(super) language: &'static str,
    /// From now on: by telephone, by mail, by text.
    first: [&'static str; 3],
    /// Said to whoever calls us; the key that stops is told.
    pub(super) called: &'static str,
    /// Said to whoever has pressed it.
    pub(super) no_calls: Stopped,
    /// One of the answers that a message offers has come.
    pub(super) answered: &'static str,
    /// It may answer several messages: `{choices}` are some of [`Self::choice`].
    pub(super) unclear: &'static str,
    /// `{digit}`, `{subject}` (what a message was about, in general words) and `{site}`.
    pub(super) choice: &'static str,
    /// An answer to a message whose time is over.
    pub(super) late: &'static str,
    /// Nobody reads it before the site opens; `{hours}` says when that is.
    pub(super) closed: &'static str,
    /// From Monday on.
    pub(super) days: [&'static str; 7],
    /// Times of day as 3:30 PM.
    pub(super) twelve_hours: bool,
    /// A visit, care, an invitation, a survey, anything else.
    subjects: [&'static str; 5],
    /// What `{call}` becomes where a phone is known; it ends with a space.
    pub(super) call: &'static str,
    /// What is said otherwise in a mail.
    pub(super) by_mail: ByMail,
}

/// What is said of a stop.
pub(super) struct Stopped {
    /// Of the channel that it came over.
    one: &'static str,
    /// Of texts and calls.
    all: &'static str,
}

impl Stopped {
    /// Of texts and calls, or of one of them.
    pub(super) const fn of(&self, all: bool) -> &'static str {
        if all { self.all } else { self.one }
    }
}

/// The texts that a mail has of its own: a stop there is one of mails.
pub(super) struct ByMail {
    pub(super) subject: &'static str,
    pub(super) stopped: &'static str,
    pub(super) stopped_visit: &'static str,
    pub(super) started: &'static str,
    pub(super) help: &'static str,
    pub(super) safety: &'static str,
    /// From now on: by telephone, by mail, by text.
    first: [&'static str; 3],
    pub(super) closed: &'static str,
}

/// Of what is said of telephone, mail and text, what is said of this channel.
const fn of_channel([voice, email, sms]: [&'static str; 3], channel: Channel) -> &'static str {
    match channel {
        Channel::Voice => voice,
        Channel::Email => email,
        Channel::Sms | Channel::Portal => sms,
    }
}

impl ByMail {
    /// The confirmation that this channel comes first from now on.
    pub(super) const fn first(&self, channel: Channel) -> &'static str {
        of_channel(self.first, channel)
    }
}

impl Texts {
    /// The confirmation that this channel comes first from now on.
    pub(super) const fn first(&self, channel: Channel) -> &'static str {
        of_channel(self.first, channel)
    }

    /// What messages for this purpose are about, in words that tell nothing of anybody.
    pub(super) const fn subject(&self, purpose: Purpose) -> &'static str {
        let [visit, care, invitation, survey, other] = self.subjects;
        match purpose {
            Purpose::Appointment => visit,
            Purpose::Care => care,
            Purpose::Prevention => invitation,
            Purpose::Survey => survey,
            Purpose::Results | Purpose::Billing | Purpose::Marketing | Purpose::Emergency => other,
        }
    }
}

const ALL: [&Texts; 3] = [&ENGLISH, &SPANISH, &CHINESE];

/// The table for a language, by its first part; English for those that have none.
pub(super) fn in_language(tag: &str) -> &'static Texts {
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    ALL.into_iter().find(|texts| primary(texts.tag) == primary(tag)).unwrap_or(&ENGLISH)
}

const ENGLISH: Texts = Texts {
    tag: "en",
    stopped: Stopped {
        one: "{name}: You will get no more texts from us at this number. Reply START to get them again.",
        all: "{name}: You will get no more texts or calls from us at this number. Reply START to get texts again.",
    },
    stopped_visit: Stopped {
        one: "{name}: You will get no more texts from us at this number. If you meant your visit, we will check. \
            {call}Reply START to get texts again.",
        all: "{name}: You will get no more texts or calls from us at this number. If you meant your visit, we will \
            check. {call}Reply START to get texts again.",
    },
    stopped_calls: "{name}: You will get no more calls from us at this number. Texts go on; reply STOP to stop them.",
    started: "{name}: You will get texts from us again. Reply HELP for help, STOP to stop.",
    help: "{name} texts you about visits and care. {call}In an emergency call {emergency}. Reply STOP to stop.",
    safety: "Nobody reads this right now. If you or someone else may be in danger, call {emergency} now.",
    language: "{name}: From now on we write to you in English. Para español, responda ESPAÑOL.",
    first: [
        "{name}: From now on we call you first, where we can. Reply TEXT to get texts first, STOP to stop texts.",
        "{name}: From now on we send you mail first, where we can. Reply TEXT to get texts first, STOP to stop texts.",
        "{name}: From now on we text you first, where we can. Reply CALL to be called first, STOP to stop texts.",
    ],
    called: "Hello. This is {name}. We call and write about visits and care. {call}To stop our calls to your number, \
        press 9.",
    no_calls: Stopped {
        one: "You will get no more calls from us at this number. Goodbye.",
        all: "You will get no more calls or texts from us at this number. Goodbye.",
    },
    answered: "{name}: Thank you, we have your answer.",
    unclear: "{name}: We have asked you more than one thing. Reply with the number of the one you mean, our oldest text \
        first: {choices}",
    choice: "{digit} = {subject}, {site}",
    late: "{name}: Thank you. Your answer came after its time; our staff will read it. {call}",
    closed: "{name}: Thank you. Nobody reads this right now. Our hours: {hours}. {call}In an emergency call {emergency}.",
    days: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    twelve_hours: true,
    subjects: ["a visit", "your care", "an invitation", "a survey", "a message"],
    call: "Call us: {phone}. ",
    by_mail: ByMail {
        subject: "Automatic answer: your mail to {name}",
        stopped: "{name}: You will get no more mail from us at this address. To get it again, answer with START.",
        stopped_visit: "{name}: You will get no more mail from us at this address. If you meant your visit, we will \
            check. {call}To get mail again, answer with START.",
        started: "{name}: You will get mail from us again. To stop it, answer with STOP.",
        help: "{name} writes to you about visits and care. {call}In an emergency call {emergency}. To stop our mail, \
            answer with STOP.",
        safety: "Nobody reads this mail right now. If you or someone else may be in danger, call {emergency} now.",
        first: [
            "{name}: From now on we call you first, where we can.",
            "{name}: From now on we send you mail first, where we can.",
            "{name}: From now on we text you first, where we can.",
        ],
        closed: "{name}: Thank you. Nobody reads your mail right now. Our hours: {hours}. {call}In an emergency call \
            {emergency}.",
    },
};

const SPANISH: Texts = Texts {
    tag: "es",
    stopped: Stopped {
        one: "{name}: No recibirá más mensajes nuestros en este número. Responda START para recibirlos otra vez.",
        all: "{name}: No recibirá más mensajes ni llamadas nuestras en este número. Responda START para recibir mensajes \
            otra vez.",
    },
    stopped_visit: Stopped {
        one: "{name}: No recibirá más mensajes nuestros en este número. Si se refería a su cita, lo revisaremos. \
            {call}Responda START para recibir mensajes otra vez.",
        all: "{name}: No recibirá más mensajes ni llamadas nuestras en este número. Si se refería a su cita, lo \
            revisaremos. {call}Responda START para recibir mensajes otra vez.",
    },
    stopped_calls: "{name}: No recibirá más llamadas nuestras en este número. Los mensajes siguen; responda ALTO para no \
        recibirlos.",
    started: "{name}: Recibirá nuestros mensajes otra vez. Responda AYUDA para ayuda, ALTO para no recibir más.",
    help: "{name} le escribe sobre citas y cuidados. {call}En una emergencia llame al {emergency}. Responda ALTO para \
        no recibir más.",
    safety: "Nadie lee esto ahora mismo. Si usted u otra persona puede estar en peligro, llame al {emergency} ahora.",
    language: "{name}: Desde ahora le escribimos en español. For English, reply ENGLISH.",
    first: [
        "{name}: Desde ahora primero le llamamos, si podemos. Responda TEXTO para mensajes, ALTO para no recibir más.",
        "{name}: Desde ahora primero le enviamos correo, si podemos. Responda TEXTO para mensajes, ALTO para no recibir \
            más.",
        "{name}: Desde ahora primero le enviamos mensajes, si podemos. Responda LLAMADA para llamadas, ALTO para no \
            recibir más.",
    ],
    called: "Hola. Le habla {name}. Llamamos y escribimos sobre citas y cuidados. {call}Para no recibir más llamadas en \
        su número, oprima el 9.",
    no_calls: Stopped {
        one: "No recibirá más llamadas nuestras en este número. Adiós.",
        all: "No recibirá más llamadas ni mensajes nuestros en este número. Adiós.",
    },
    answered: "{name}: Gracias, tenemos su respuesta.",
    unclear: "{name}: Le hemos preguntado más de una cosa. Responda con el número de la que quiere contestar, primero \
        nuestro mensaje más antiguo: {choices}",
    choice: "{digit} = {subject}, {site}",
    late: "{name}: Gracias. Su respuesta llegó fuera de plazo; nuestro personal la leerá. {call}",
    closed: "{name}: Gracias. Nadie lee esto en este momento. Nuestro horario: {hours}. {call}En una emergencia llame al \
        {emergency}.",
    days: ["lun", "mar", "mié", "jue", "vie", "sáb", "dom"],
    twelve_hours: false,
    subjects: ["una cita", "su atención", "una invitación", "una encuesta", "un mensaje"],
    call: "Llámenos: {phone}. ",
    by_mail: ByMail {
        subject: "Respuesta automática: su correo a {name}",
        stopped: "{name}: No recibirá más correos nuestros en esta dirección. Para recibirlos otra vez, responda START.",
        stopped_visit: "{name}: No recibirá más correos nuestros en esta dirección. Si se refería a su cita, lo \
            revisaremos. {call}Para recibir correos otra vez, responda START.",
        started: "{name}: Recibirá nuestros correos otra vez. Para no recibir más, responda ALTO.",
        help: "{name} le escribe sobre citas y cuidados. {call}En una emergencia llame al {emergency}. Para no recibir \
            más correos, responda ALTO.",
        safety: "Nadie lee este correo ahora mismo. Si usted u otra persona puede estar en peligro, llame al {emergency} \
            ahora.",
        first: [
            "{name}: Desde ahora primero le llamamos, si podemos.",
            "{name}: Desde ahora primero le enviamos correo, si podemos.",
            "{name}: Desde ahora primero le enviamos mensajes de texto, si podemos.",
        ],
        closed: "{name}: Gracias. Nadie lee su correo en este momento. Nuestro horario: {hours}. {call}En una emergencia \
            llame al {emergency}.",
    },
};

const CHINESE: Texts = Texts {
    tag: "zh-Hans",
    stopped: Stopped {
        one: "{name}：我们不会再向此号码发送短信。回复 START 可重新接收。",
        all: "{name}：我们不会再向此号码发送短信或拨打电话。回复 START 可重新接收短信。",
    },
    stopped_visit: Stopped {
        one: "{name}：我们不会再向此号码发送短信。如果您是指预约，我们会核实。{call}回复 START 可重新接收短信。",
        all: "{name}：我们不会再向此号码发送短信或拨打电话。如果您是指预约，我们会核实。{call}回复 START 可重新接收短信。",
    },
    stopped_calls: "{name}：我们不会再拨打此号码。短信会继续；回复 STOP 停止接收。",
    started: "{name}：您将重新收到我们的短信。回复 HELP 获取帮助，回复 STOP 停止接收。",
    help: "{name}就预约和护理事宜向您发送短信。{call}紧急情况请拨打 {emergency}。回复 STOP 停止接收。",
    safety: "目前无人查看此短信。如果您或他人可能有危险，请立即拨打 {emergency}。",
    language: "{name}：今后我们将用中文给您发短信。For English, reply ENGLISH.",
    first: [
        "{name}：今后我们将尽可能先给您打电话。回复 短信 可先收短信，回复 STOP 停止接收短信。",
        "{name}：今后我们将尽可能先给您发电子邮件。回复 短信 可先收短信，回复 STOP 停止接收短信。",
        "{name}：今后我们将尽可能先给您发短信。回复 电话 可先接电话，回复 STOP 停止接收短信。",
    ],
    called: "您好，这里是{name}。我们就预约和护理事宜联系您。{call}如不希望再接到我们的来电，请按 9。",
    no_calls: Stopped {
        one: "我们不会再拨打此号码。再见。",
        all: "我们不会再拨打此号码，也不会再发送短信。再见。",
    },
    answered: "{name}：谢谢，我们已收到您的答复。",
    unclear: "{name}：我们向您提过不止一个问题。请回复您要答复的那一项的数字（按发送时间先后）：{choices}",
    choice: "{digit} = {subject}（{site}）",
    late: "{name}：谢谢。您的答复已过期，我们的工作人员会查看。{call}",
    closed: "{name}：谢谢。目前无人查看此短信。我们的工作时间：{hours}。{call}紧急情况请拨打 {emergency}。",
    days: ["周一", "周二", "周三", "周四", "周五", "周六", "周日"],
    twelve_hours: false,
    subjects: ["预约", "护理", "邀请", "调查", "消息"],
    call: "请致电 {phone}。",
    by_mail: ByMail {
        subject: "自动回复：您发给{name}的邮件",
        stopped: "{name}：我们不会再向此地址发送邮件。如需重新接收，请回复 START。",
        stopped_visit: "{name}：我们不会再向此地址发送邮件。如果您是指预约，我们会核实。{call}如需重新接收邮件，请回复 START。",
        started: "{name}：您将重新收到我们的邮件。如需停止，请回复 STOP。",
        help: "{name}就预约和护理事宜给您写邮件。{call}紧急情况请拨打 {emergency}。如需停止接收邮件，请回复 STOP。",
        safety: "目前无人查看此邮件。如果您或他人可能有危险，请立即拨打 {emergency}。",
        first: [
            "{name}：今后我们将尽可能先给您打电话。",
            "{name}：今后我们将尽可能先给您发电子邮件。",
            "{name}：今后我们将尽可能先给您发短信。",
        ],
        closed: "{name}：谢谢。目前无人查看您的邮件。我们的工作时间：{hours}。{call}紧急情况请拨打 {emergency}。",
    },
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
            for stopped in [&texts.stopped, &texts.stopped_visit].map(|s| [s.of(false), s.of(true)]).concat()
            {
                assert!(stopped.contains("{name}") && stopped.contains("START"), "{}", texts.tag);
            }
            assert!(texts.help.contains("{name}") && texts.help.contains("{call}"), "{}", texts.tag);
            assert!(
                texts.safety.contains("{emergency}") && !texts.safety.contains("{name}"),
                "{}",
                texts.tag
            );
            assert!(texts.call.contains("{phone}"));
            assert!(texts.late.contains("{call}") && texts.closed.contains("{call}"), "{}", texts.tag);
            assert!(
                texts.closed.contains("{hours}") && texts.closed.contains("{emergency}"),
                "{}",
                texts.tag
            );
            assert!(texts.unclear.contains("{choices}") && texts.choice.contains("{digit}"), "{}", texts.tag);
            let mail = &texts.by_mail;
            assert!(mail.stopped.contains("{name}") && mail.stopped.contains("START"), "{}", texts.tag);
            assert!(mail.safety.contains("{emergency}") && !mail.safety.contains("{name}"), "{}", texts.tag);
            assert!(mail.closed.contains("{hours}") && mail.closed.contains("{call}"), "{}", texts.tag);
        }
    }
}
