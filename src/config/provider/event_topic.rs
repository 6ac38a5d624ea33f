//! The topic of Amazon SNS by which a relay tells what became of mails.

use crate::config::fault::Broken;
use crate::config::kind::Parsed;

/// An ARN, `arn:aws:sns:us-east-1:123456789012:ses-events`. Its region tells which host speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTopic {
    arn: String,
    host: String,
}

impl EventTopic {
    /// Reads an ARN; `None` where it is none of a topic.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let arn = text.trim();
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts.as_slice() else { return None };
        let domain = match *partition {
            "aws" | "aws-us-gov" => "amazonaws.com",
            "aws-cn" => "amazonaws.com.cn",
            _ => return None,
        };
        let made_of =
            |text: &str, more: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
        let good = (3..=32).contains(&region.len())
            && made_of(region, b"-")
            && account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && (1..=256).contains(&name.len())
            && made_of(name, b"-_");
        good.then(|| Self { arn: arn.to_owned(), host: format!("sns.{region}.{domain}") })
    }

    /// As it was given.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Where its certificates lie, and subscriptions are confirmed.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

pub(super) const EVENT_TOPIC: Parsed<EventTopic> = Parsed {
    parse: |text| {
        let cure = "write it as arn:aws:sns:us-east-1:123456789012:ses-events";
        EventTopic::parse(text).ok_or_else(|| Broken::new("must be the ARN of an SNS topic", cure))
    },
    show: |topic| topic.arn().to_owned(),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_tells_its_host() {
        for (arn, host) in [
            ("arn:aws:sns:us-east-1:123456789012:ses-events", Some("sns.us-east-1.amazonaws.com")),
            ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:a_b", Some("sns.us-gov-west-1.amazonaws.com")),
            ("arn:aws-cn:sns:cn-north-1:123456789012:a", Some("sns.cn-north-1.amazonaws.com.cn")),
            ("arn:aws:sns:evil.example/:123456789012:a", None),
            ("arn:aws:sns:us-east-1:1234:a", None),
            ("arn:aws:sqs:us-east-1:123456789012:a", None),
            ("arn:aws:sns:us-east-1:123456789012:a:b", None),
            ("ses-events", None),
        ] {
            assert_eq!(EventTopic::parse(arn).as_ref().map(EventTopic::host), host, "{arn}");
        }
    }
}
