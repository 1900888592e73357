//! What answers come to that are not paid by tokens alone.

use super::{Cost, NoCost, Prices, Unit, billionths};
use crate::usage::Service;
use crate::{Endpoint, Measure};

impl Prices {
    fn of(&self, unit: Unit) -> Option<u128> {
        self.rate(unit, 0, Service::Standard)
            .map(|rate| u128::from(rate.0))
    }

    /// The price of a picture: the one name or the other.
    fn picture(&self) -> Option<u128> {
        self.of(Unit::Picture).or_else(|| self.of(Unit::Image))
    }

    /// The price of a second: some rows have 0 under the other name.
    fn second(&self) -> Option<u128> {
        let spoken = self.of(Unit::Spoken).filter(|rate| *rate > 0);
        spoken.or_else(|| self.of(Unit::Second))
    }

    /// Whether it is known what requests to one of [`Endpoint::OTHERS`] come to.
    pub fn covers(&self, endpoint: Endpoint) -> bool {
        let tokens = self.is_known(false);
        match endpoint {
            Endpoint::Rerank => self.of(Unit::Query).is_some() || tokens,
            Endpoint::Moderations => tokens,
            Endpoint::ImageGenerations => {
                self.picture().is_some() || (tokens && self.of(Unit::OutputPicture).is_some())
            }
            Endpoint::Speech => self.of(Unit::Letter).is_some(),
            Endpoint::Transcriptions => self.second().is_some() || self.is_known(true),
            _ => self.is_known(true),
        }
    }

    /// What an answer of one of [`Endpoint::OTHERS`] came to.
    pub fn cost_of(&self, endpoint: Endpoint, measure: &Measure) -> Result<Cost, NoCost> {
        let tokens = || self.tokens(measure);
        let of = |rate: u128, count: Option<u64>, what| -> Result<(u128, u128), NoCost> {
            let count = count.ok_or(NoCost::NotMeasured(what))?;
            Ok((rate * u128::from(count), 0))
        };
        let (input, output) = match endpoint {
            Endpoint::Rerank => match self.of(Unit::Query) {
                Some(rate) => of(rate, measure.searches, "searches")?,
                None => tokens()?,
            },
            // Who takes nothing for a token takes nothing, however many there were.
            Endpoint::Moderations if self.of(Unit::Input) == Some(0) => (0, 0),
            Endpoint::ImageGenerations => match self.picture() {
                Some(rate) => {
                    let (made, _) = of(rate, measure.pictures, "pictures")?;
                    (0, made)
                }
                None => tokens()?,
            },
            Endpoint::Speech => {
                let rate = self.of(Unit::Letter);
                let rate = rate.ok_or(NoCost::NoPrice("input_cost_per_character"))?;
                of(rate, measure.letters, "characters")?
            }
            // What is paid by tokens says tokens.
            Endpoint::Transcriptions if measure.tokens.is_none() || !self.is_known(true) => {
                let rate = self.second().ok_or(NoCost::NoPrice("input_cost_per_second"))?;
                let (heard, _) = of(rate, measure.milliseconds, "seconds")?;
                (heard.div_ceil(1000), 0)
            }
            _ => tokens()?,
        };
        let once = self.of(Unit::Request).unwrap_or(0);
        Ok(Cost {
            total: billionths(input + output + once)?,
            input: billionths(input)?,
            output: billionths(output)?,
            ..Cost::default()
        })
    }

    /// By tokens, of which those of pictures and of sound have prices of their own.
    fn tokens(&self, measure: &Measure) -> Result<(u128, u128), NoCost> {
        let usage = measure.tokens.ok_or(NoCost::NotCounted)?;
        let part = |count: Option<u64>| u128::from(count.unwrap_or(0));
        let (all, written) = (part(usage.input), part(usage.output));
        let (seen, heard) = (part(measure.input_pictures), part(usage.input_audio));
        let read = part(usage.cache_read);
        let rate = |unit: Unit, instead: Unit, count: u128, name| {
            if count == 0 {
                return Ok(0);
            }
            let rate = self.of(unit).or_else(|| self.of(instead));
            Ok(rate.ok_or(NoCost::NoPrice(name))? * count)
        };
        let plain = all.saturating_sub(seen + heard + read);
        let input = rate(Unit::Input, Unit::Input, plain, "input_cost_per_token")?
            + rate(Unit::CacheRead, Unit::Input, read, "cache_read_input_token_cost")?
            + rate(
                Unit::InputPicture,
                Unit::Input,
                seen,
                "input_cost_per_image_token",
            )?
            + rate(Unit::InputAudio, Unit::Input, heard, "input_cost_per_audio_token")?;
        // Of what makes pictures everything that it writes is one.
        let output = rate(
            Unit::OutputPicture,
            Unit::Output,
            written,
            "output_cost_per_token",
        )?;
        Ok((input, output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Usage;
    use crate::price::{Listed, Priced, Rate};

    fn listed(provider: &str, model: &str) -> Prices {
        Listed::find(provider, model).unwrap().prices
    }

    fn total(prices: &Prices, endpoint: Endpoint, measure: &Measure) -> Result<i64, NoCost> {
        prices.cost_of(endpoint, measure).map(|cost| cost.total)
    }

    #[test]
    fn searches_pictures_seconds_and_characters_are_paid_by_their_number() {
        let cohere = listed("cohere", "rerank-v3.5");
        let three = Measure {
            searches: Some(3),
            ..Measure::default()
        };
        assert_eq!(total(&cohere, Endpoint::Rerank, &three), Ok(6_000_000));
        assert_eq!(
            total(&cohere, Endpoint::Rerank, &Measure::default()),
            Err(NoCost::NotMeasured("searches"))
        );
        let two = Measure {
            pictures: Some(2),
            ..Measure::default()
        };
        let aiml = listed("aiml", "dall-e-3");
        assert_eq!(total(&aiml, Endpoint::ImageGenerations, &two), Ok(104_000_000));
        let heard = Measure {
            milliseconds: Some(1500),
            ..Measure::default()
        };
        let groq = listed("groq", "whisper-large-v3");
        assert_eq!(total(&groq, Endpoint::Transcriptions, &heard), Ok(46_245));
        let said = Measure {
            letters: Some(10),
            ..Measure::default()
        };
        let tts = listed("azure", "tts-1");
        assert_eq!(total(&tts, Endpoint::Speech, &said), Ok(150_000));
        assert!(cohere.covers(Endpoint::Rerank) && !cohere.covers(Endpoint::Speech));
        assert!(tts.covers(Endpoint::Speech) && !tts.covers(Endpoint::Transcriptions));
    }

    #[test]
    fn tokens_of_pictures_and_of_sound_have_their_own_prices() {
        let tokens = |input, output, audio| {
            Some(Usage {
                input: Some(input),
                output: Some(output),
                input_audio: audio,
                ..Usage::default()
            })
        };
        let painted = Measure {
            tokens: tokens(50, 100, None),
            input_pictures: Some(40),
            pictures: Some(1),
            ..Measure::default()
        };
        // 10 · 5000 + 40 · 10000 + 100 · 40000
        let azure = listed("azure", "gpt-image-1");
        assert_eq!(total(&azure, Endpoint::ImageGenerations, &painted), Ok(4_450_000));
        let heard = Measure {
            tokens: tokens(14, 45, Some(14)),
            ..Measure::default()
        };
        // 14 · 6000 + 45 · 10000
        let transcribe = listed("azure", "gpt-4o-transcribe");
        assert_eq!(total(&transcribe, Endpoint::Transcriptions, &heard), Ok(534_000));
        let free = Prices::default().with([(
            Priced::parse("input_cost_per_token").unwrap(),
            Rate::parse("0").unwrap(),
        )]);
        assert_eq!(total(&free, Endpoint::Moderations, &Measure::default()), Ok(0));
        assert!(total(&Prices::default(), Endpoint::Moderations, &heard).is_err());
    }
}
