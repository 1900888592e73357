//! What models cost: a table of the providers' prices, what an operator says instead, and what one answer comes to.
//!
//! The table is `data/prices.tsv`, text that is searched where it lies: nothing of it is parsed, or is in memory, until a model of
//! it is configured. `scripts/prices.py` makes it, and says in it where the prices are from and when they were taken.
//!
//! Prices are integers of 10⁻¹⁵ dollars for one of a thing. Products and sums are exact. What a request comes to is **rounded up
//! once, to a whole billionth of a dollar**: what costs something is never recorded as nothing, and never less than it costs.
//! What has no price has none: an unknown price is no 0.

use crate::usage::{Service, Usage};

mod measured;
mod table;

pub use table::Listed;

/// Parts of a dollar that prices are counted in: 10⁻¹⁵.
const PARTS: u32 = 15;
/// Of these are in a billionth of a dollar.
const IN_A_BILLIONTH: u128 = 1_000_000;

/// What one of a thing costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// Reads dollars, as configurations and JSON have them: `0.0000025`, `2.5e-06`. What is finer than 10⁻¹⁵ is rounded to the nearest.
    /// `None` if it is negative, no number, or more than 18,000 dollars.
    pub fn parse(dollars: &str) -> Option<Self> {
        let (digits, exponent) = match dollars.split_once(['e', 'E']) {
            None => (dollars, 0),
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        };
        Self::shifted(digits, exponent.checked_add(PARTS.cast_signed())?)
    }

    /// Reads billionths of a dollar, as the table has them.
    fn of_billionths(text: &str) -> Option<Self> {
        Self::shifted(text, 6)
    }

    /// A decimal number times 10^`exponent`, to the nearest.
    fn shifted(text: &str, exponent: i32) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let all = || whole.bytes().chain(part.bytes());
        if whole.len() + part.len() == 0
            || whole.len() + part.len() > 40
            || !all().all(|own| own.is_ascii_digit())
        {
            return None;
        }
        // Where the point is, counted from the first digit.
        let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
        let mut value: u64 = 0;
        let mut digits = all().map(|own| u64::from(own - b'0'));
        for _ in 0..point.clamp(0, 60) {
            value = value.checked_mul(10)?.checked_add(digits.next().unwrap_or(0))?;
        }
        // Nothing but zeros is left of what would be longer.
        if point > 60 && value != 0 {
            return None;
        }
        let rounds_up = point >= 0 && digits.next().is_some_and(|next| next >= 5);
        Some(Self(value.checked_add(u64::from(rounds_up))?))
    }

    /// As dollars, for JSON: the nearest number that JSON has.
    pub fn dollars(self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "it is for people; costs are counted with the integer"
        )]
        let parts = self.0 as f64;
        parts / 1e15
    }
}

/// A thing that has a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A token of the request.
    Input,
    /// A token of the answer.
    Output,
    /// A token of the request that was in a cache.
    CacheRead,
    /// One that is put there.
    CacheWrite,
    /// One that is put there for an hour.
    CacheWriteHour,
    /// One of sound in the request.
    InputAudio,
    /// One of sound in the answer.
    OutputAudio,
    /// One of what was thought.
    Reasoning,
    /// The request.
    Request,
    /// A token of a picture in the request.
    InputPicture,
    /// A token of a picture in the answer.
    OutputPicture,
    /// A picture that is made, as some services call it.
    Image,
    /// A picture that is made.
    Picture,
    /// A search: an order of so many documents.
    Query,
    /// A second of sound that is heard.
    Second,
    /// The same, as some services call it.
    Spoken,
    /// A character that is said aloud.
    Letter,
}

impl Unit {
    /// All, each with its name in the table, and LiteLLM's.
    const ALL: [(Self, &'static str, &'static str); 17] = [
        (Self::Input, "in", "input_cost_per_token"),
        (Self::Output, "out", "output_cost_per_token"),
        (Self::CacheRead, "read", "cache_read_input_token_cost"),
        (Self::CacheWrite, "write", "cache_creation_input_token_cost"),
        (
            Self::CacheWriteHour,
            "hour",
            "cache_creation_input_token_cost_above_1hr",
        ),
        (Self::InputAudio, "audio", "input_cost_per_audio_token"),
        (Self::OutputAudio, "said", "output_cost_per_audio_token"),
        (Self::Reasoning, "thought", "output_cost_per_reasoning_token"),
        (Self::Request, "request", "input_cost_per_request"),
        (Self::InputPicture, "seen", "input_cost_per_image_token"),
        (Self::OutputPicture, "drawn", "output_cost_per_image_token"),
        (Self::Image, "image", "input_cost_per_image"),
        (Self::Picture, "picture", "output_cost_per_image"),
        (Self::Query, "query", "input_cost_per_query"),
        (Self::Second, "second", "input_cost_per_second"),
        (Self::Spoken, "spoken", "output_cost_per_second"),
        (Self::Letter, "letter", "input_cost_per_character"),
    ];

    /// Itself, and what it is a kind of, the next of kin first.
    fn more_general(self) -> &'static [Self] {
        match self {
            Self::Input => &[Self::Input],
            Self::Output => &[Self::Output],
            Self::CacheRead => &[Self::CacheRead, Self::Input],
            Self::CacheWrite => &[Self::CacheWrite, Self::Input],
            Self::CacheWriteHour => &[Self::CacheWriteHour, Self::CacheWrite, Self::Input],
            Self::InputAudio => &[Self::InputAudio, Self::Input],
            Self::OutputAudio => &[Self::OutputAudio, Self::Output],
            Self::Reasoning => &[Self::Reasoning, Self::Output],
            Self::InputPicture => &[Self::InputPicture, Self::Input],
            Self::OutputPicture => &[Self::OutputPicture, Self::Output],
            Self::Request => &[Self::Request],
            // Nothing else is paid for these.
            Self::Image | Self::Picture | Self::Query | Self::Second | Self::Spoken | Self::Letter => &[],
        }
    }
}

/// What a price is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priced {
    /// Of which thing.
    pub unit: Unit,
    /// It holds if the request has more tokens than this.
    pub above: u64,
    /// For what kind of service.
    pub service: Service,
}

impl Priced {
    /// LiteLLM's name of a price: `input_cost_per_token`, `output_cost_per_token_above_200k_tokens`, `…_priority`.
    pub fn parse(name: &str) -> Option<Self> {
        let (name, service) = Service::PRICED
            .into_iter()
            .find_map(|service| Some((name.strip_suffix(service.suffix())?, service)))
            .unwrap_or((name, Service::Standard));
        let whole = |name: &str| Unit::ALL.iter().find(|(.., own)| *own == name);
        let (unit, above) = if let Some((unit, ..)) = whole(name) {
            (*unit, 0)
        } else {
            let (begin, above) = name.strip_suffix("k_tokens")?.rsplit_once("_above_")?;
            let above: u64 = above.parse::<u32>().ok()?.into();
            (whole(begin)?.0, above * 1000)
        };
        Some(Self { unit, above, service })
    }

    /// The same.
    pub fn name(self) -> String {
        let name = Unit::ALL.iter().find(|(own, ..)| *own == self.unit);
        let (.., name) = name.copied().unwrap_or(Unit::ALL[0]);
        let above = match self.above {
            0 => String::new(),
            above => format!("_above_{}k_tokens", above / 1000),
        };
        format!("{name}{above}{}", self.service.suffix())
    }

    /// Its name in the table: `in`, `in>200`, `in>200!p`.
    fn listed(name: &str) -> Option<Self> {
        let (name, service) = match name.split_once('!') {
            None => (name, Service::Standard),
            Some((name, letter)) => (name, Service::of_letter(letter)?),
        };
        let (name, above) = match name.split_once('>') {
            None => (name, 0),
            Some((name, above)) => (name, above.parse::<u64>().ok()?.checked_mul(1000)?),
        };
        let (unit, ..) = Unit::ALL.iter().find(|(_, own, _)| *own == name)?;
        Some(Self {
            unit: *unit,
            above,
            service,
        })
    }
}

/// The prices of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices(Vec<(Priced, Rate)>);

/// What a request came to, billionths of a dollar. The parts are rounded up each for itself, the whole once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// All of it.
    pub total: i64,
    /// Of what was read, also from and into caches.
    pub input: i64,
    /// Of what was written, also what was thought.
    pub output: i64,
    /// Of `input`: from caches.
    pub cache_read: i64,
    /// Of `input`: into caches.
    pub cache_write: i64,
    /// Of `output`: what was thought, where it has a price of its own.
    pub reasoning: i64,
}

impl Cost {
    /// What two answers came to together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            total: self.total.saturating_add(other.total),
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            reasoning: self.reasoning.saturating_add(other.reasoning),
        }
    }
}

/// Why nobody can say what a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCost {
    /// The answer does not say how much it took.
    #[error("the answer does not say how many tokens it took")]
    NotCounted,
    /// There is no price for some of it.
    #[error("there is no price {0}")]
    NoPrice(&'static str),
    /// It cannot be right.
    #[error("the number of tokens cannot be right")]
    TooMuch,
    /// The answer does not say how much it took of what it is paid by.
    #[error("the answer does not say how many {0} it took")]
    NotMeasured(&'static str),
}

impl Prices {
    /// These instead of those of the same name.
    #[must_use]
    pub fn with(mut self, own: impl IntoIterator<Item = (Priced, Rate)>) -> Self {
        for (priced, rate) in own {
            match self.0.iter_mut().find(|(known, _)| *known == priced) {
                Some((_, known)) => *known = rate,
                None => self.0.push((priced, rate)),
            }
        }
        self
    }

    /// Whether it is known what requests come to: what is read has a price, and what is written if it `writes`.
    pub fn is_known(&self, writes: bool) -> bool {
        let has = |unit| self.rate(unit, 0, Service::Standard).is_some();
        has(Unit::Input) && (!writes || has(Unit::Output))
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Priced, Rate)> {
        self.0.iter().copied()
    }

    /// The price of a thing in a request of so many tokens: that of the highest step that it is above.
    fn rate(&self, unit: Unit, tokens: u64, service: Service) -> Option<Rate> {
        let own = self.0.iter().filter(|(own, _)| {
            own.unit == unit && own.service == service && (own.above == 0 || tokens > own.above)
        });
        own.max_by_key(|(own, _)| own.above).map(|(_, rate)| *rate)
    }

    /// What an answer came to.
    pub fn cost(&self, usage: &Usage) -> Result<Cost, NoCost> {
        self.sum(usage, |unit, tokens| {
            // Who has no price for caches takes the full one.
            let instead = (unit == Unit::CacheRead).then_some(Unit::Input);
            self.rate(unit, tokens, usage.service)
                .or_else(|| self.rate(instead?, tokens, usage.service))
        })
    }

    /// About what an answer came to that [`Prices::cost`] has no price for: of the part without one, the price of the same tokens as
    /// text, and as the usual service. It is what budgets are charged, who would pay nothing for all of it otherwise, and no cost: it is
    /// never said to be one. Errors if the model has no prices at all.
    pub fn about(&self, usage: &Usage) -> Result<i64, NoCost> {
        let whole = self.sum(usage, |unit, tokens| {
            let instead = unit.more_general();
            [usage.service, Service::Standard]
                .into_iter()
                .find_map(|service| instead.iter().find_map(|unit| self.rate(*unit, tokens, service)))
        });
        whole.map(|cost| cost.total)
    }

    /// What it comes to if a thing has this price in a request of so many tokens.
    fn sum(&self, usage: &Usage, rate: impl Fn(Unit, u64) -> Option<Rate>) -> Result<Cost, NoCost> {
        let (Some(input), Some(output)) = (usage.input, usage.output) else {
            return Err(NoCost::NotCounted);
        };
        let of = |unit: Unit, count: u64| -> Result<u128, NoCost> {
            if count == 0 {
                return Ok(0);
            }
            let rate = rate(unit, input);
            let name = || {
                Unit::ALL
                    .iter()
                    .find(|(own, ..)| *own == unit)
                    .map_or("", |own| own.2)
            };
            let rate = rate.ok_or_else(|| NoCost::NoPrice(name()))?;
            Ok(u128::from(rate.0) * u128::from(count))
        };
        let part = |count: Option<u64>| count.unwrap_or(0);
        let (read, write) = (part(usage.cache_read), part(usage.cache_write));
        let hour = part(usage.cache_write_hour).min(write);
        let (heard, said) = (part(usage.input_audio), part(usage.output_audio));
        let apart = read.saturating_add(write).saturating_add(heard);
        let plain = of(Unit::Input, input.saturating_sub(apart))?;
        let cache_read = of(Unit::CacheRead, read)?;
        let cache_write = of(Unit::CacheWrite, write - hour)? + of(Unit::CacheWriteHour, hour)?;
        let whole_input = plain + cache_read + cache_write + of(Unit::InputAudio, heard)?;
        let thinks_apart = self.rate(Unit::Reasoning, input, usage.service).is_some();
        let thought = if thinks_apart {
            part(usage.reasoning).min(output)
        } else {
            0
        };
        let reasoning = of(Unit::Reasoning, thought)?;
        let written = output.saturating_sub(thought).saturating_sub(said);
        let whole_output = of(Unit::Output, written)? + reasoning + of(Unit::OutputAudio, said)?;
        let once = self
            .rate(Unit::Request, input, usage.service)
            .map_or(0, |rate| u128::from(rate.0));
        Ok(Cost {
            total: billionths(whole_input + whole_output + once)?,
            input: billionths(whole_input)?,
            output: billionths(whole_output)?,
            cache_read: billionths(cache_read)?,
            cache_write: billionths(cache_write)?,
            reasoning: billionths(reasoning)?,
        })
    }
}

/// Rounded up.
fn billionths(parts: u128) -> Result<i64, NoCost> {
    i64::try_from(parts.div_ceil(IN_A_BILLIONTH)).map_err(|_| NoCost::TooMuch)
}

#[cfg(test)]
mod tests;
