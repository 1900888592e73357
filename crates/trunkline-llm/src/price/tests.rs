//! Amounts to the last billionth.

use proptest::prelude::*;

use super::*;

fn prices(own: &[(&str, &str)]) -> Prices {
    let own = own
        .iter()
        .map(|(name, dollars)| (Priced::parse(name).unwrap(), Rate::parse(dollars).unwrap()));
    Prices::default().with(own)
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage {
        input: Some(input),
        output: Some(output),
        ..Usage::default()
    }
}

#[test]
fn rates_are_exact() {
    for (text, parts) in [
        ("0", 0),
        ("0.0", 0),
        ("2.5e-06", 2_500_000_000),
        ("0.0000025", 2_500_000_000),
        ("2.5E-6", 2_500_000_000),
        ("1e-15", 1),
        ("4e-16", 0),
        ("5e-16", 1),
        ("0.0000029999900000000002", 2_999_990_000),
        ("1e-400", 0),
        ("0e99", 0),
        ("18000", 18_000_000_000_000_000_000),
        ("1", 1_000_000_000_000_000),
        (".5", 500_000_000_000_000),
    ] {
        assert_eq!(Rate::parse(text), Some(Rate(parts)), "{text}");
    }
    for text in [
        "", "-1", "1e", "e1", "x", "1.2.3", "19000", "1e9", "NaN", "inf", "+1",
    ] {
        assert_eq!(Rate::parse(text), None, "{text}");
    }
    assert_eq!(Rate::of_billionths("62.5"), Some(Rate(62_500_000)));
    assert!((Rate(2_500_000_000).dollars() - 2.5e-6).abs() < 1e-18);
}

#[test]
fn names_are_litellms() {
    for name in [
        "input_cost_per_token",
        "cache_creation_input_token_cost_above_1hr",
        "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
        "output_cost_per_token_above_128k_tokens",
        "input_cost_per_token_above_200k_tokens_priority",
        "input_cost_per_token_batches",
        "cache_read_input_token_cost_flex",
        "output_cost_per_image",
        "input_cost_per_query",
        "input_cost_per_second",
    ] {
        assert_eq!(Priced::parse(name).map(Priced::name).as_deref(), Some(name));
    }
    for name in [
        "input_cost",
        "input_cost_per_token_above_k_tokens",
        "output_cost_per_pixel",
        "_priority",
    ] {
        assert_eq!(Priced::parse(name), None, "{name}");
    }
}

#[test]
fn what_costs_something_is_not_nothing() {
    // 0.4 of a billionth a token.
    let cheap = prices(&[("input_cost_per_token", "4e-10"), ("output_cost_per_token", "0")]);
    let total = |count| cheap.cost(&tokens(count, 9)).unwrap().total;
    assert_eq!(
        [total(0), total(1), total(2), total(3), total(5)],
        [0, 1, 1, 2, 2]
    );
}

#[test]
fn parts_have_their_own_prices() {
    let own = Listed::find("openai", "gpt-4o").unwrap().prices;
    let usage = Usage {
        cache_read: Some(600),
        reasoning: Some(7),
        ..tokens(1000, 20)
    };
    // 400 · 2500 + 600 · 1250 + 20 · 10000
    let cost = own.cost(&usage).unwrap();
    assert_eq!(
        (cost.total, cost.input, cost.output),
        (1_950_000, 1_750_000, 200_000)
    );
    assert_eq!((cost.cache_read, cost.reasoning), (750_000, 0));
    let fast = Usage {
        service: Service::Priority,
        ..tokens(1000, 20)
    };
    assert_eq!(own.cost(&fast).unwrap().total, 4_250_000 + 340_000);
    let unknown = Usage {
        service: Service::Other,
        ..tokens(1000, 20)
    };
    assert_eq!(own.cost(&unknown), Err(NoCost::NoPrice("input_cost_per_token")));
    // Sound costs more than text, and there is no price for it.
    let sound = Usage {
        input_audio: Some(5),
        ..tokens(10, 1)
    };
    assert_eq!(
        own.cost(&sound),
        Err(NoCost::NoPrice("input_cost_per_audio_token"))
    );
}

#[test]
fn caches_are_paid_for_by_how_long_they_last() {
    let own = Listed::find("anthropic", "claude-sonnet-4-5").unwrap().prices;
    let usage = Usage {
        cache_read: Some(100),
        cache_write: Some(50),
        cache_write_hour: Some(20),
        ..tokens(1000, 10)
    };
    // 850 · 3000 + 100 · 300 + 30 · 3750 + 20 · 6000 + 10 · 15000
    let cost = own.cost(&usage).unwrap();
    assert_eq!(cost.total, 2_550_000 + 30_000 + 112_500 + 120_000 + 150_000);
    assert_eq!(cost.cache_write, 232_500);
}

#[test]
fn a_long_request_costs_more_for_all_of_it() {
    let own = Listed::find("gemini", "gemini-2.5-pro").unwrap().prices;
    assert_eq!(
        own.cost(&tokens(200_000, 1)).unwrap().total,
        200_000 * 1250 + 10_000
    );
    assert_eq!(
        own.cost(&tokens(200_001, 1)).unwrap().total,
        200_001 * 2500 + 15_000
    );
}

#[test]
fn what_is_not_known_is_not_nothing() {
    let half = prices(&[("input_cost_per_token", "1e-6")]);
    assert!(half.is_known(false) && !half.is_known(true));
    assert_eq!(
        half.cost(&tokens(1, 1)),
        Err(NoCost::NoPrice("output_cost_per_token"))
    );
    assert_eq!(half.cost(&tokens(1, 0)).unwrap().total, 1000);
    let own = half.with([(
        Priced::parse("output_cost_per_token").unwrap(),
        Rate::parse("0").unwrap(),
    )]);
    assert_eq!(own.cost(&tokens(1, 1)).unwrap().total, 1000);
    let silent = Usage {
        output: None,
        ..tokens(1, 1)
    };
    assert_eq!(own.cost(&silent), Err(NoCost::NotCounted));
    assert_eq!(own.cost(&tokens(u64::MAX, 0)), Err(NoCost::TooMuch));
}

#[test]
fn a_request_may_have_a_price_and_what_is_thought_another() {
    let own = prices(&[
        ("input_cost_per_token", "1e-9"),
        ("output_cost_per_token", "2e-9"),
        ("output_cost_per_reasoning_token", "3e-9"),
        ("input_cost_per_request", "0.01"),
    ]);
    let usage = Usage {
        reasoning: Some(4),
        ..tokens(10, 6)
    };
    let cost = own.cost(&usage).unwrap();
    assert_eq!(
        (cost.total, cost.reasoning),
        (10_000_000 + 10 + 2 * 2 + 4 * 3, 12)
    );
}

proptest! {
    #[test]
    fn the_whole_is_what_it_costs_rounded_up(input in 0u64..3_000_000, output in 0u64..300_000, a in 0u64..10_000_000_000, b in 0u64..10_000_000_000) {
        let own = Prices(vec![
            (Priced { unit: Unit::Input, above: 0, service: Service::Standard }, Rate(a)),
            (Priced { unit: Unit::Output, above: 0, service: Service::Standard }, Rate(b)),
        ]);
        let exact = u128::from(a) * u128::from(input) + u128::from(b) * u128::from(output);
        let total = u128::try_from(own.cost(&tokens(input, output)).unwrap().total).unwrap();
        prop_assert!(total * IN_A_BILLIONTH >= exact && exact + IN_A_BILLIONTH > total * IN_A_BILLIONTH);
    }
}

#[test]
fn what_has_no_price_of_its_own_is_charged_as_what_it_is_a_kind_of() {
    let own = prices(&[
        ("input_cost_per_token", "2e-9"),
        ("output_cost_per_token", "5e-9"),
        ("cache_creation_input_token_cost", "3e-9"),
    ]);
    let of = |edit: fn(&mut Usage)| {
        let mut usage = tokens(100, 10);
        edit(&mut usage);
        (own.cost(&usage).ok().map(|cost| cost.total), own.about(&usage))
    };
    assert_eq!(of(|_| {}), (Some(250), Ok(250)));
    assert_eq!(of(|own| own.input_audio = Some(50)), (None, Ok(250)));
    assert_eq!(of(|own| own.output_audio = Some(5)), (None, Ok(250)));
    let hour = |own: &mut Usage| (own.cache_write, own.cache_write_hour) = (Some(40), Some(40));
    assert_eq!(of(hour), (None, Ok(60 * 2 + 40 * 3 + 50)));
    assert_eq!(of(|own| own.service = Service::Priority), (None, Ok(250)));
    assert_eq!(of(|own| own.service = Service::Other), (None, Ok(250)));
    assert!(Prices::default().about(&tokens(1, 1)).is_err());
}
