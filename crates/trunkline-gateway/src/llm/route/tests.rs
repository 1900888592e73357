//! Which deployment is next, by rules that a table says more of than a provider.

use trunkline_model::{DeploymentParams, FailureKind};

use super::*;

fn deployment(id: &str, edit: impl FnOnce(&mut Deployment)) -> Arc<Deployment> {
    let mut deployment = Deployment {
        id: id.to_owned(),
        model_name: "m".to_owned(),
        provider: "openai".to_owned(),
        model: "x".to_owned(),
        by_name: false,
        is_stored: false,
        params: DeploymentParams {
            api_base: "https://a/v1".to_owned(),
            ..DeploymentParams::default()
        },
        model_info: serde_json::Map::new(),
        defect: None,
    };
    edit(&mut deployment);
    Arc::new(deployment)
}

fn models(deployments: Vec<Arc<Deployment>>) -> Models {
    with(deployments, |_| {})
}

fn with(deployments: Vec<Arc<Deployment>>, edit: impl FnOnce(&mut RouterRules)) -> Models {
    let mut rules = RouterRules::default();
    edit(&mut rules);
    Models::new(ModelList {
        deployments,
        rules,
        ..ModelList::default()
    })
}

fn choose(
    models: &Models,
    (endpoint, tags): (Endpoint, &[&str]),
    tried: &[&str],
) -> Result<Chosen, NoDeployment> {
    let texts = |own: &[&str]| own.iter().map(|own| (*own).to_owned()).collect::<Vec<_>>();
    let catalogue = models.catalogue();
    let wanted = Wanted {
        what: What::Endpoint(endpoint),
        tags: &texts(tags),
        tried: &texts(tried),
    };
    let limits = Arc::new(Limits::default());
    models.choose(
        &catalogue.group("m").unwrap(),
        wanted,
        (catalogue.rules(), &limits),
    )
}

/// Its id; the turn is over at once.
fn chosen(models: &Models, tried: &[&str]) -> Result<String, NoDeployment> {
    choose(models, (Endpoint::ChatCompletions, &[]), tried).map(|own| own.ready.deployment.id.clone())
}

fn fail(models: &Models, id: &str) {
    let others: Vec<String> = models
        .catalogue()
        .group("m")
        .unwrap()
        .members
        .iter()
        .map(|own| own.deployment.id.clone())
        .filter(|own| own != id)
        .collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let mut chosen = choose(models, (Endpoint::ChatCompletions, &[]), &others)
        .ok()
        .unwrap();
    let time = chosen.ready.rest(models.catalogue().rules());
    chosen
        .turn
        .failed(models.now(), time, (0, FailureKind::InternalServer));
}

#[test]
fn chance_falls_into_shares() {
    let pick = |shares: &[f64], chance| pick(shares.iter().copied(), chance);
    assert_eq!(pick(&[1.0, 3.0], 0.24), 0);
    assert_eq!(pick(&[1.0, 3.0], 0.26), 1);
    assert_eq!(pick(&[0.0, 1.0, 0.0], 0.999_999), 1);
    assert_eq!(pick(&[0.0, 1.0], 0.0), 1);
    let drawn: Vec<f64> = (0..1000).map(|_| chance()).collect();
    assert!(drawn.iter().all(|own| (0.0..1.0).contains(own)));
    assert!(drawn.iter().any(|own| *own < 0.2) && drawn.iter().any(|own| *own > 0.8));
}

#[tokio::test(start_paused = true)]
async fn who_failed_is_left_alone_and_an_only_one_never() {
    let two = models(vec![deployment("a", |_| {}), deployment("b", |_| {})]);
    fail(&two, "a");
    for _ in 0..50 {
        assert_eq!(chosen(&two, &[]), Ok("b".to_owned()));
    }
    assert_eq!(
        chosen(&two, &["b"]),
        Err(NoDeployment::Resting(Duration::from_secs(5)))
    );
    assert_eq!(chosen(&two, &["a", "b"]), Err(NoDeployment::Tried));
    // The file is read again: it rests all the same.
    two.set(ModelList {
        deployments: vec![
            deployment("b", |own| own.params.weight = Some(1.0)),
            deployment("a", |_| {}),
        ],
        ..ModelList::default()
    });
    assert!(matches!(chosen(&two, &["b"]), Err(NoDeployment::Resting(_))));
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(chosen(&two, &["b"]), Ok("a".to_owned()));
    let one = models(vec![deployment("a", |_| {})]);
    fail(&one, "a");
    assert_eq!(chosen(&one, &[]), Ok("a".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_by_one_and_the_others_go_on() {
    let two = models(vec![
        deployment("a", |own| own.params.order = Some(1)),
        deployment("b", |own| own.params.order = Some(2)),
    ]);
    fail(&two, "a");
    tokio::time::advance(Duration::from_secs(6)).await;
    let trial = choose(&two, (Endpoint::ChatCompletions, &[]), &[]).ok().unwrap();
    assert_eq!(trial.ready.deployment.id, "a");
    assert_eq!(chosen(&two, &[]), Ok("b".to_owned()));
    drop(trial);
    assert_eq!(chosen(&two, &[]), Ok("a".to_owned()));
}

#[tokio::test]
async fn strategies_choose_by_what_they_say() {
    let two = |strategy| {
        let deployments = vec![
            deployment("a", |own| {
                own.params.prices = [
                    ("input_cost_per_token", "2e-06"),
                    ("output_cost_per_token", "1e-06"),
                ]
                .map(|(name, price)| (name.to_owned(), price.to_owned()))
                .into();
            }),
            deployment("b", |own| {
                own.params.prices = [
                    ("input_cost_per_token", "1e-06"),
                    ("output_cost_per_token", "1e-06"),
                ]
                .map(|(name, price)| (name.to_owned(), price.to_owned()))
                .into();
            }),
        ];
        with(deployments, |rules| rules.strategy = strategy)
    };
    let take = |models: &Models, other: &str| {
        choose(models, (Endpoint::ChatCompletions, &[]), &[other])
            .ok()
            .unwrap()
    };
    let only = |models: &Models, wanted: &str| {
        (0..30).for_each(|_| assert_eq!(chosen(models, &[]), Ok(wanted.to_owned())));
    };
    only(&two(Strategy::Cost), "b");
    let models = two(Strategy::LeastBusy);
    let busy = take(&models, "a");
    only(&models, "a");
    drop(busy);
    let models = two(Strategy::Usage);
    take(&models, "b").turn.took(models.now(), 100);
    only(&models, "b");
    let models = two(Strategy::Latency);
    let mut fast = take(&models, "b");
    fast.turn.succeeded(models.now());
    only(&models, "b");
    let mut slow = take(&models, "a");
    slow.turn.succeeded(models.now() + 50);
    only(&models, "a");
}

#[tokio::test]
async fn who_has_enough_is_passed_over() {
    let two = models(vec![
        deployment("a", |own| own.params.rpm = Some(2.0)),
        deployment("b", |own| own.params.max_parallel_requests = Some(1)),
    ]);
    let all: Vec<Chosen> = (0..3)
        .map(|_| choose(&two, (Endpoint::ChatCompletions, &[]), &[]).ok().unwrap())
        .collect();
    assert_eq!(all.iter().filter(|own| own.ready.deployment.id == "a").count(), 2);
    assert!(matches!(chosen(&two, &[]), Err(NoDeployment::Full(_))));
    drop(all);
    assert_eq!(chosen(&two, &[]), Ok("b".to_owned()));
}

#[tokio::test]
async fn tags_say_for_which_requests_it_is() {
    let tagged = |id: &str, tags: &[&str]| {
        let tags = tags.iter().map(|own| (*own).to_owned()).collect();
        deployment(id, |own| own.params.tags = tags)
    };
    let of = |models: &Models, tags: &[&str]| {
        choose(models, (Endpoint::ChatCompletions, tags), &[]).map(|own| own.ready.deployment.id.clone())
    };
    let all = || vec![tagged("free", &["free"]), tagged("paid", &["paid", "eu"])];
    let models = with(all(), |rules| rules.filters_tags = true);
    assert_eq!(of(&models, &["paid", "x"]), Ok("paid".to_owned()));
    assert_eq!(of(&models, &["x"]), Err(NoDeployment::OtherTags));
    let mut more = all();
    more.push(tagged("rest", &["default"]));
    let models = with(more, |rules| rules.filters_tags = true);
    assert_eq!(of(&models, &["x"]), Ok("rest".to_owned()));
    assert_eq!(of(&models, &[]), Ok("rest".to_owned()));
    let models = with(all(), |rules| {
        rules.filters_tags = true;
        rules.matches_any_tag = false;
    });
    assert_eq!(of(&models, &["paid", "x"]), Err(NoDeployment::OtherTags));
    assert_eq!(of(&models, &["paid", "eu"]), Ok("paid".to_owned()));
}

#[tokio::test]
async fn names_are_of_the_list_aliases_or_stars() {
    use trunkline_model::ModelAlias;
    let named = |id: &str, name: &str, model: &str| {
        deployment(id, |own| {
            name.clone_into(&mut own.model_name);
            model.clone_into(&mut own.model);
        })
    };
    let models = with(
        vec![
            named("m", "m", "x"),
            named("all", "*", "*"),
            named("gpt", "gpt-*", "ft-*"),
        ],
        |rules| {
            let alias = ModelAlias {
                model: "m".to_owned(),
                hidden: true,
            };
            rules.aliases.insert("other".to_owned(), alias);
        },
    );
    let catalogue = models.catalogue();
    let of = |name: &str| {
        let group = catalogue.group(name).unwrap();
        let own = &group.members[0].deployment;
        (own.id.clone(), own.model.clone())
    };
    for (name, id, model) in [
        ("m", "m", "x"),
        ("other", "m", "x"),
        ("gpt-4", "gpt", "ft-4"),
        ("a/b", "all", "a/b"),
    ] {
        assert_eq!(of(name), (id.to_owned(), model.to_owned()), "{name}");
    }
    let same = |a: &str| catalogue.group(a).unwrap();
    assert!(Arc::ptr_eq(&same("gpt-4"), &same("gpt-4")));
    assert!(Arc::ptr_eq(
        &same("gpt-4").members[0].load,
        &same("gpt-5").members[0].load
    ));
}

#[tokio::test]
async fn order_shares_defects_and_endpoints() {
    let models = models(vec![
        deployment("first", |own| own.params.order = Some(1)),
        deployment("second", |own| own.params.order = Some(2)),
        deployment("broken", |own| own.defect = Some("no key".to_owned())),
    ]);
    for _ in 0..50 {
        assert_eq!(chosen(&models, &[]), Ok("first".to_owned()));
    }
    assert_eq!(chosen(&models, &["first"]), Ok("second".to_owned()));
    models.set(ModelList {
        deployments: vec![deployment("broken", |own| own.defect = Some("no key".to_owned()))],
        ..ModelList::default()
    });
    assert_eq!(
        chosen(&models, &[]),
        Err(NoDeployment::Unusable("no key".to_owned()))
    );
    assert!(models.catalogue().group("other").is_none());
    models.set(ModelList {
        deployments: vec![deployment("chat", |own| own.provider = "groq".to_owned())],
        ..ModelList::default()
    });
    let refused = choose(&models, (Endpoint::Embeddings, &[]), &[]).err();
    assert_eq!(refused, Some(NoDeployment::OtherEndpoint));
}
