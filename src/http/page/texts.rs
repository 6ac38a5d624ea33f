//! What the page says, a table a language. Short sentences, everyday words: its readers may be ill, tired or old, and
//! nobody stands beside them.

use serde::Serialize;

/// Everything in one language.
#[derive(Debug, Serialize)]
pub(super) struct Texts {
    /// BCP-47, of the page itself.
    pub(super) lang: &'static str,
    pub(super) dir: &'static str,
    /// The language's own name for itself.
    pub(super) language_name: &'static str,
    pub(super) title: &'static str,
    pub(super) lead: &'static str,
    pub(super) call: &'static str,
    /// Where no phone number is known.
    pub(super) ask: &'static str,
    /// How the link came, and, for a number, before its last digits.
    pub(super) came_by: PerChannel,
    pub(super) ending_in: &'static str,

    pub(super) notices: Notices,

    pub(super) stop_title: &'static str,
    pub(super) stop_this: PerChannel,
    pub(super) stop_this_help: &'static str,
    pub(super) stopped_this: &'static str,

    pub(super) ways_title: &'static str,
    pub(super) ways_help: &'static str,
    pub(super) way: PerChannel,
    pub(super) on: &'static str,
    pub(super) some: &'static str,
    pub(super) off: &'static str,
    pub(super) stop_way: PerChannel,
    pub(super) start_way: PerChannel,

    pub(super) kinds_title: &'static str,
    pub(super) kinds_help: &'static str,
    pub(super) kinds: Kinds,
    pub(super) short_way: PerChannel,

    pub(super) first_title: &'static str,
    pub(super) first_help: &'static str,
    pub(super) first_any: &'static str,

    pub(super) language_title: &'static str,

    pub(super) quiet_title: &'static str,
    pub(super) quiet_help: &'static str,
    pub(super) quiet_from: &'static str,
    pub(super) quiet_to: &'static str,
    pub(super) quiet_none: &'static str,

    pub(super) all_title: &'static str,
    pub(super) all_help: &'static str,
    pub(super) stop_all: &'static str,
    pub(super) start_all: &'static str,

    pub(super) save: &'static str,
    pub(super) privacy: &'static str,
    pub(super) sorry: Sorry,
}

/// One text for each channel.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PerChannel {
    pub(super) sms: &'static str,
    pub(super) email: &'static str,
    pub(super) portal: &'static str,
    pub(super) voice: &'static str,
}

/// One text for each purpose that patients choose about.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Kinds {
    pub(super) appointment: &'static str,
    pub(super) care: &'static str,
    pub(super) results: &'static str,
    pub(super) billing: &'static str,
    pub(super) prevention: &'static str,
    pub(super) survey: &'static str,
    pub(super) marketing: &'static str,
}

/// What became of what was asked for, and what there is to know first.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Notices {
    pub(super) changed: &'static str,
    pub(super) unchanged: &'static str,
    pub(super) outdated: &'static str,
    pub(super) unclear: &'static str,
    pub(super) two_times: &'static str,
    pub(super) expired: &'static str,
    pub(super) everything_stopped: &'static str,
    pub(super) address_stopped: &'static str,
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Sorry {
    pub(super) no_link: &'static str,
    pub(super) no_link_help: &'static str,
    pub(super) later: &'static str,
    pub(super) later_help: &'static str,
    pub(super) refused: &'static str,
    pub(super) refused_help: &'static str,
}

/// The languages that the page speaks; the first is for everybody else.
pub(super) const LANGUAGES: [&Texts; 3] = [&ENGLISH, &SPANISH, &CHINESE];

const ENGLISH: Texts = Texts {
    lang: "en",
    dir: "ltr",
    language_name: "English",
    title: "Your messages",
    lead: "Here you choose which messages we send you, and how.",
    call: "Questions? Call us:",
    ask: "Questions? Please ask at your clinic.",
    came_by: PerChannel {
        sms: "You opened this page from a text message.",
        email: "You opened this page from an email.",
        portal: "You opened this page from a message in the patient portal.",
        voice: "You opened this page after a phone call.",
    },
    ending_in: "It went to the number ending in",
    notices: Notices {
        changed: "Done. We have saved your choice.",
        unchanged: "This is already set. There was nothing to change.",
        outdated: "Your choices were changed somewhere else in the meantime. Please look at them again, then save.",
        unclear: "We did not understand this. Please try again, or call us. Nothing was changed.",
        two_times: "Please choose two different times. Nothing was changed.",
        expired: "This link is more than 60 days old. You can still stop messages here. To change anything else, use the link in a newer message, or call us.",
        everything_stopped: "All messages are stopped. We send you nothing.",
        address_stopped: "Somebody has answered STOP to our messages at this number or address. So we send nothing there, whatever is set below. To change this, please call us.",
    },
    stop_title: "Stop messages like this one",
    stop_this: PerChannel {
        sms: "Stop these text messages",
        email: "Stop these emails",
        portal: "Stop these portal messages",
        voice: "Stop these calls",
    },
    stop_this_help: "You will not get this kind of message this way any more. You still get our other messages.",
    stopped_this: "You do not get this kind of message this way any more.",
    ways_title: "Ways we may reach you",
    ways_help: "This is for everything that you receive from us.",
    way: PerChannel {
        sms: "Text messages",
        email: "Emails",
        portal: "Messages in the patient portal",
        voice: "Automatic phone calls",
    },
    on: "On",
    some: "On for some kinds of messages",
    off: "Off",
    stop_way: PerChannel {
        sms: "Stop all text messages",
        email: "Stop all emails",
        portal: "Stop all portal messages",
        voice: "Stop all automatic calls",
    },
    start_way: PerChannel {
        sms: "Turn text messages on",
        email: "Turn emails on",
        portal: "Turn portal messages on",
        voice: "Turn automatic calls on",
    },
    kinds_title: "Choose for each kind of message",
    kinds_help: "A tick means: you may send it to me this way.",
    kinds: Kinds {
        appointment: "Appointments: reminders and changes",
        care: "Your care: how to prepare, what to do next",
        results: "Results: that something is ready for you",
        billing: "Bills and payments",
        prevention: "Staying well: vaccines and check-ups",
        survey: "Questions about how we are doing",
        marketing: "News and offers",
    },
    short_way: PerChannel { sms: "Text", email: "Email", portal: "Portal", voice: "Call" },
    first_title: "What to try first",
    first_help: "If one way does not work, we may try another one that you allow.",
    first_any: "I do not mind",
    language_title: "Language of your messages",
    quiet_title: "Hours when you want quiet",
    quiet_help: "In these hours we do not text or call you, except in an emergency. Emails may still come.",
    quiet_from: "Quiet from",
    quiet_to: "until",
    quiet_none: "no wish",
    all_title: "Stop everything",
    all_help: "Then we send you nothing at all: no reminders, and no word when something is ready for you. Our staff can still call you or write you a letter.",
    stop_all: "Stop all messages",
    start_all: "Turn messages on again",
    save: "Save",
    privacy: "This page shows no names and nothing about your health. Please do not pass the link on: whoever has it can change these choices.",
    sorry: Sorry {
        no_link: "This link does not work",
        no_link_help: "Perhaps a piece of it is missing. Please open it once more from the message. To stop messages, or if you need help, call us.",
        later: "This does not work right now",
        later_help: "Nothing was changed. Please try again in a few minutes, or call us.",
        refused: "We could not do this",
        refused_help: "Nothing was changed. Please open the link once more from the message, or call us.",
    },
};

const SPANISH: Texts = Texts {
    lang: "es",
    dir: "ltr",
    language_name: "Español",
    title: "Sus mensajes",
    lead: "Aquí usted elige qué mensajes le enviamos y cómo.",
    call: "¿Preguntas? Llámenos:",
    ask: "¿Preguntas? Consulte en su clínica.",
    came_by: PerChannel {
        sms: "Usted abrió esta página desde un mensaje de texto.",
        email: "Usted abrió esta página desde un correo electrónico.",
        portal: "Usted abrió esta página desde un mensaje del portal del paciente.",
        voice: "Usted abrió esta página después de una llamada.",
    },
    ending_in: "Llegó al número que termina en",
    notices: Notices {
        changed: "Listo. Guardamos su elección.",
        unchanged: "Ya estaba así. No había nada que cambiar.",
        outdated: "Mientras tanto, sus opciones cambiaron en otro lugar. Revíselas de nuevo y después guárdelas.",
        unclear: "No pudimos entenderlo. Inténtelo otra vez o llámenos. No se cambió nada.",
        two_times: "Elija dos horas diferentes. No se cambió nada.",
        expired: "Este enlace tiene más de 60 días. Aquí todavía puede detener los mensajes. Para cambiar otra cosa, use el enlace de un mensaje más reciente o llámenos.",
        everything_stopped: "Todos los mensajes están detenidos. No le enviamos nada.",
        address_stopped: "Alguien respondió STOP a nuestros mensajes desde este número o esta dirección. Por eso no enviamos nada allí, aunque abajo diga otra cosa. Para cambiarlo, llámenos.",
    },
    stop_title: "Detener mensajes como este",
    stop_this: PerChannel {
        sms: "Detener estos mensajes de texto",
        email: "Detener estos correos",
        portal: "Detener estos mensajes del portal",
        voice: "Detener estas llamadas",
    },
    stop_this_help: "Ya no recibirá este tipo de mensaje por este medio. Seguirá recibiendo nuestros otros mensajes.",
    stopped_this: "Usted ya no recibe este tipo de mensaje por este medio.",
    ways_title: "Cómo podemos comunicarnos con usted",
    ways_help: "Esto vale para todo lo que usted recibe de nosotros.",
    way: PerChannel {
        sms: "Mensajes de texto",
        email: "Correos electrónicos",
        portal: "Mensajes del portal del paciente",
        voice: "Llamadas automáticas",
    },
    on: "Activado",
    some: "Activado para algunos tipos de mensaje",
    off: "Desactivado",
    stop_way: PerChannel {
        sms: "Detener todos los mensajes de texto",
        email: "Detener todos los correos",
        portal: "Detener todos los mensajes del portal",
        voice: "Detener todas las llamadas automáticas",
    },
    start_way: PerChannel {
        sms: "Activar los mensajes de texto",
        email: "Activar los correos",
        portal: "Activar los mensajes del portal",
        voice: "Activar las llamadas automáticas",
    },
    kinds_title: "Elegir para cada tipo de mensaje",
    kinds_help: "Una marca significa: me lo pueden enviar por este medio.",
    kinds: Kinds {
        appointment: "Citas: recordatorios y cambios",
        care: "Su atención: cómo prepararse, qué hacer después",
        results: "Resultados: aviso de que algo está listo para usted",
        billing: "Cuentas y pagos",
        prevention: "Prevención: vacunas y chequeos",
        survey: "Preguntas sobre cómo lo atendimos",
        marketing: "Novedades y ofertas",
    },
    short_way: PerChannel { sms: "Texto", email: "Correo", portal: "Portal", voice: "Llamada" },
    first_title: "Qué intentar primero",
    first_help: "Si un medio no funciona, podemos intentar otro que usted permita.",
    first_any: "Me da igual",
    language_title: "Idioma de sus mensajes",
    quiet_title: "Horas en que no quiere que le molesten",
    quiet_help: "En esas horas no le enviamos mensajes de texto ni le llamamos, salvo en una emergencia. Los correos pueden llegar igual.",
    quiet_from: "No molestar desde las",
    quiet_to: "hasta las",
    quiet_none: "sin preferencia",
    all_title: "Detener todo",
    all_help: "Entonces no le enviaremos nada: ni recordatorios ni avisos de que algo está listo para usted. Nuestro personal todavía puede llamarle o enviarle una carta.",
    stop_all: "Detener todos los mensajes",
    start_all: "Volver a activar los mensajes",
    save: "Guardar",
    privacy: "Esta página no muestra nombres ni nada sobre su salud. No comparta el enlace: quien lo tenga puede cambiar estas opciones.",
    sorry: Sorry {
        no_link: "Este enlace no funciona",
        no_link_help: "Tal vez le falta una parte. Ábralo otra vez desde el mensaje. Para detener los mensajes, o si necesita ayuda, llámenos.",
        later: "En este momento no funciona",
        later_help: "No se cambió nada. Inténtelo de nuevo en unos minutos o llámenos.",
        refused: "No pudimos hacerlo",
        refused_help: "No se cambió nada. Abra el enlace otra vez desde el mensaje o llámenos.",
    },
};

const CHINESE: Texts = Texts {
    lang: "zh-Hans",
    dir: "ltr",
    language_name: "中文（简体）",
    title: "您的消息",
    lead: "您可以在这里选择接收哪些消息，以及用什么方式接收。",
    call: "有疑问？请致电：",
    ask: "有疑问？请向您的诊所咨询。",
    came_by: PerChannel {
        sms: "您是通过一条短信打开本页的。",
        email: "您是通过一封电子邮件打开本页的。",
        portal: "您是通过患者门户中的一条消息打开本页的。",
        voice: "您是在接到电话后打开本页的。",
    },
    ending_in: "收信号码的尾号是",
    notices: Notices {
        changed: "完成。您的选择已保存。",
        unchanged: "本来就是这样，无需更改。",
        outdated: "您的选项在此期间已在别处更改。请重新查看，然后再保存。",
        unclear: "我们没有看懂您的操作。请再试一次，或致电我们。没有做任何更改。",
        two_times: "请选择两个不同的时间。没有做任何更改。",
        expired: "此链接已超过 60 天。您仍然可以在这里停止消息。如需更改其他选项，请使用较新消息中的链接，或致电我们。",
        everything_stopped: "所有消息都已停止。我们不会给您发送任何消息。",
        address_stopped: "有人曾在这个号码或地址对我们的消息回复 STOP。因此，无论下面如何设置，我们都不会再向它发送消息。如需更改，请致电我们。",
    },
    stop_title: "停止此类消息",
    stop_this: PerChannel {
        sms: "停止此类短信",
        email: "停止此类邮件",
        portal: "停止此类门户消息",
        voice: "停止此类来电",
    },
    stop_this_help: "您将不再以这种方式收到此类消息，但仍会收到我们的其他消息。",
    stopped_this: "您已不再以这种方式接收此类消息。",
    ways_title: "我们可以用哪些方式联系您",
    ways_help: "这适用于您从我们这里收到的所有消息。",
    way: PerChannel {
        sms: "短信", email: "电子邮件", portal: "患者门户消息", voice: "自动电话"
    },
    on: "已开启",
    some: "部分类型的消息已开启",
    off: "已关闭",
    stop_way: PerChannel {
        sms: "停止所有短信",
        email: "停止所有邮件",
        portal: "停止所有门户消息",
        voice: "停止所有自动电话",
    },
    start_way: PerChannel {
        sms: "开启短信",
        email: "开启邮件",
        portal: "开启门户消息",
        voice: "开启自动电话",
    },
    kinds_title: "为每类消息分别选择",
    kinds_help: "打勾表示：可以用这种方式发给我。",
    kinds: Kinds {
        appointment: "预约：提醒和变更",
        care: "您的诊疗：如何准备，接下来做什么",
        results: "结果：通知您有内容可以查看",
        billing: "账单和付款",
        prevention: "预防保健：疫苗和体检",
        survey: "对我们服务的意见调查",
        marketing: "新闻和优惠",
    },
    short_way: PerChannel { sms: "短信", email: "邮件", portal: "门户", voice: "电话" },
    first_title: "优先使用哪种方式",
    first_help: "如果一种方式联系不上，我们可能会尝试您允许的另一种方式。",
    first_any: "都可以",
    language_title: "消息使用的语言",
    quiet_title: "您希望不被打扰的时间",
    quiet_help: "在这段时间内，除紧急情况外，我们不会给您发短信或打电话。电子邮件仍可能送达。",
    quiet_from: "从",
    quiet_to: "到",
    quiet_none: "没有要求",
    all_title: "停止全部消息",
    all_help: "之后我们不会给您发送任何消息：没有提醒，有内容可以查看时也不会通知您。我们的工作人员仍可给您打电话或寄信。",
    stop_all: "停止所有消息",
    start_all: "重新开启消息",
    save: "保存",
    privacy: "本页不显示姓名，也不显示任何健康信息。请不要转发此链接：任何拿到链接的人都能更改这些选项。",
    sorry: Sorry {
        no_link: "此链接无效",
        no_link_help: "链接可能不完整。请从消息中重新打开。如需停止消息或需要帮助，请致电我们。",
        later: "目前无法使用",
        later_help: "没有做任何更改。请过几分钟再试，或致电我们。",
        refused: "我们无法完成此操作",
        refused_help: "没有做任何更改。请从消息中重新打开链接，或致电我们。",
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of a table, by its path.
    fn walk(value: &serde_json::Value, path: &str, found: &mut Vec<(String, String)>) {
        match value {
            serde_json::Value::Object(map) => {
                map.iter().for_each(|(key, value)| walk(value, &format!("{path}.{key}"), found));
            }
            serde_json::Value::String(text) => found.push((path.to_owned(), text.clone())),
            other => panic!("{path}: {other}"),
        }
    }

    #[test]
    fn every_text_is_there_and_none_was_left_in_another_language() {
        let tables = LANGUAGES.map(|texts| {
            let mut found = Vec::new();
            walk(&serde_json::to_value(texts).unwrap(), "", &mut found);
            found
        });
        let [english, others @ ..] = &tables;
        for table in others {
            for ((path, text), (_, original)) in table.iter().zip(english) {
                assert!(!text.trim().is_empty(), "{path}");
                // The one word that is the same.
                let same = text == original && !matches!(path.as_str(), ".dir" | ".short_way.portal");
                assert!(!same, "{path}: {text}");
            }
        }
    }
}
