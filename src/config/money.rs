//! Money: counted in millionths, never in floating point.

use toml::Value;

use super::fault::Broken;
use super::kind::{Kind, Raw};

/// An amount in millionths of the currency that `[limits] currency` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money {
    pub micros: u64,
}

/// The largest amount, a billion: far from any overflow in sums.
const MAX_MICROS: u64 = 1_000_000_000 * 1_000_000;

impl Money {
    /// An amount in millionths.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self { micros }
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.micros / 1_000_000, self.micros % 1_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{rest:06}").trim_end_matches('0'))
    }
}

/// An amount, written as a number.
pub(super) struct Amount;

impl Kind for Amount {
    type Value = Money;

    fn read(&self, raw: Raw<'_>) -> Result<Money, Broken> {
        // A number's shortest decimal spelling is what the operator wrote.
        let text = match raw {
            Raw::File(Value::Integer(number)) => number.to_string(),
            Raw::File(Value::Float(number)) => number.to_string(),
            Raw::File(_) => String::new(),
            Raw::Env(text) => text.to_owned(),
        };
        parse(&text).ok_or_else(|| {
            Broken::new(
                "must be an amount from 0 to a billion with at most 6 decimals",
                "write a number, such as 0.0079",
            )
        })
    }

    fn show(&self, value: &Money) -> Value {
        let text = value.to_string();
        text.parse()
            .map(Value::Integer)
            .or_else(|_| text.parse().map(Value::Float))
            .unwrap_or(Value::String(text))
    }
}

fn parse(text: &str) -> Option<Money> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(rest) || rest.len() > 6 {
        return None;
    }
    let micros = whole.parse::<u64>().ok()?.checked_mul(1_000_000)?;
    let micros = micros.checked_add(format!("{rest:0<6}").parse().ok()?)?;
    (micros <= MAX_MICROS).then_some(Money { micros })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, micros) in
            [("0", 0), ("0.0079", 7_900), ("250", 250_000_000), ("1.5", 1_500_000), ("0.000001", 1)]
        {
            let money = parse(text).unwrap();
            assert_eq!(money.micros, micros, "{text}");
            assert_eq!(money.to_string(), text);
        }
        for bad in ["", "-1", "1.", ".5", "0.0000001", "NaN", "inf", "1e3", "1000000001"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(Amount.read(Raw::File(&Value::Float(0.0079))).unwrap().micros, 7_900);
    }
}
