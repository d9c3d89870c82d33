//! A rate that users write in percent.

use farrier_update::rehearsal::Permille;
use std::str::FromStr;

/// A rate, such as 2% or 0.5%. Without the sign it means the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate(Permille);

impl Rate {
    pub(super) fn permille(self) -> Permille {
        self.0
    }
}

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit()).then(|| part.parse::<u16>().ok());
        let permille = match (digits(whole).flatten(), digits(tenths).flatten()) {
            (Some(whole), Some(tenths @ 0..=9)) => {
                whole.checked_mul(10).and_then(|whole| whole.checked_add(tenths))
            }
            _ => None,
        };
        let permille = permille.filter(|permille| *permille <= 1000 && tenths.len() == 1);
        permille.map(Self).ok_or_else(|| {
            anyhow::anyhow!(
                "{text:?} is no percentage from 0% to 100% with at most one decimal; examples: 2%, 0.5%"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    /// A rate that is read as a tenth of what was meant makes a plan look safe.
    #[test]
    fn rates_are_percentages() {
        let read = |text: &str| text.parse::<Rate>().ok().map(Rate::permille);
        for (text, permille) in
            [("2%", 20), ("2", 20), ("0.5%", 5), ("100%", 1000), ("0%", 0), ("12.5 %", 125)]
        {
            assert_eq!(read(text), Some(permille), "{text}");
        }
        for text in ["", "%", "-1%", "101%", "100.1%", "0.05%", "1.%", "a%", "+1%", "7000%", "6553.9%"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
