//! Cards and small hand-written files through [`PreparationSpec::prepare`]. `tests/datasets.rs` has the real ones.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::{
    card::{Card, Duplicates},
    diagnose::nowhere,
    preparation::Prepared,
    preparation_spec::PreparationSpec,
    split::Split,
    summary::{Pin, SplitCounts},
    task::Limit,
};
use crate::base::error::{Error, IoAt, Result};

type Cards = BTreeMap<String, Card>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn cards(path: &Path) -> Cards {
    let text = fs::read_to_string(path).unwrap();
    let mut file: BTreeMap<String, Cards> = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.remove("dataset").unwrap()
}

fn fixtures() -> PathBuf {
    root().join("tests/fixtures/datasets")
}

fn card(name: &str) -> Card {
    cards(&fixtures().join("datasets.toml")).remove(name).unwrap()
}

fn recipe(name: &str, scheme: &str, limit: Limit) -> PreparationSpec {
    let card = card(name);
    PreparationSpec::new(name, &card, scheme, &card.schemes[scheme], limit)
}

/// Prepares from the fixtures, with the bytes of a file changed on the way.
fn prepare_with(recipe: &PreparationSpec, change: impl Fn(&str) -> String) -> Result<Prepared> {
    recipe.prepare(|name| {
        let path = fixtures().join(name);
        let bytes = fs::read(&path).io_at("read", &path)?;
        let latin: String = bytes.iter().map(|b| char::from(*b)).collect();
        Ok(change(&latin).chars().map(|c| c as u8).collect())
    })
}

fn prepare(recipe: &PreparationSpec) -> Result<Prepared> {
    prepare_with(recipe, str::to_owned)
}

fn no_limit() -> Limit {
    Limit::default()
}

fn texts(prepared: &Prepared, split: Split) -> Vec<&str> {
    prepared.examples.iter().filter(|e| e.split == split).map(|e| e.text.as_str()).collect()
}

fn total(counts: &[SplitCounts], class: &str) -> u64 {
    counts.iter().map(|s| s.classes[class]).sum()
}

/// The message of the error that preparing gives.
fn message(result: Result<Prepared>) -> String {
    let Error { message, help, .. } = result.unwrap_err();
    assert!(help.is_some(), "no remedy: {message}");
    message
}

#[test]
fn ratings_become_classes_and_every_row_is_accounted_for() {
    let prepared = prepare(&recipe("ratings", "2", no_limit())).unwrap();
    let s = &prepared.summary;
    assert_eq!(s.rows(), 30);
    assert_eq!(s.dropped, BTreeMap::from([("rating in [-0.5, 0.5]".to_owned(), 6)]));
    assert_eq!(
        (s.duplicates.repeats_within_split, s.duplicates.conflicting_texts, s.duplicates.conflicting_rows),
        (1, 1, 2)
    );
    assert_eq!(s.duplicates.removed, 3);
    assert_eq!(prepared.examples.len(), 30 - 6 - 3);
    assert_eq!((total(&s.read, "negative"), total(&s.read, "positive")), (11, 13));
    assert_eq!((total(&s.kept, "negative"), total(&s.kept, "positive")), (10, 11));
    let joke = prepared.examples.iter().find(|e| e.text.starts_with("A warm, funny and \"wonderfully\"")).unwrap();
    assert_eq!((joke.id.as_str(), joke.label.as_str(), joke.label_id, joke.value), ("1", "positive", 1, Some(3.2)));
    assert!(prepared.examples.iter().any(|e| e.text == "A small miracle, see"), "addresses are taken out");
}

#[test]
fn cuts_fall_where_the_card_says() {
    let s = prepare(&recipe("ratings", "5", no_limit())).unwrap().summary;
    let of: Vec<u64> = s.labels.iter().map(|label| total(&s.read, label)).collect();
    assert_eq!(of, [5, 6, 6, 6, 7]);
}

#[test]
fn rows_come_by_split_and_then_in_an_order_that_the_file_does_not_decide() {
    let recipe = recipe("ratings", "3", no_limit());
    let ordered = prepare(&recipe).unwrap();
    let splits: Vec<Split> = ordered.examples.iter().map(|e| e.split).collect();
    assert!(splits.is_sorted());
    let reversed = prepare_with(&recipe, |text| {
        let mut lines: Vec<&str> = text.split("\r\n").collect();
        // The repeated text stays in its order, since the first of its rows is the one that stays.
        lines.reverse();
        let (a, b) = (
            lines.iter().position(|l| l.ends_with("superb!")).unwrap(),
            lines.iter().position(|l| l.ends_with("Superb!")).unwrap(),
        );
        lines.swap(a, b);
        lines.join("\r\n")
    })
    .unwrap();
    assert_eq!(ordered.examples, reversed.examples);
}

#[test]
fn a_smaller_limit_gives_a_part_of_a_larger_one() {
    let limited =
        |train| prepare(&recipe("ratings", "2", Limit { train: Some(train), dev: Some(0), test: None })).unwrap();
    let (few, more) = (limited(6), limited(10));
    let (few_train, more_train) = (texts(&few, Split::Train), texts(&more, Split::Train));
    assert_eq!((few_train.len(), more_train.len()), (6, 10));
    assert_eq!(few_train, more_train[..6]);
    assert_eq!(texts(&few, Split::Test), texts(&more, Split::Test));
    assert_eq!(few.summary.available, more.summary.available);
    assert_ne!(few.summary.kept, more.summary.kept);
}

#[test]
fn damaged_rows_and_conflicts_are_left_out_and_counted() {
    let prepared = prepare(&recipe("tweets", "3", no_limit())).unwrap();
    let s = &prepared.summary;
    assert_eq!(s.dropped, BTreeMap::from([("characters outside of ASCII".to_owned(), 1)]));
    assert_eq!((s.duplicates.repeats_within_split, s.duplicates.conflicting_rows), (1, 2));
    assert_eq!(prepared.examples.len(), 17 - 1 - 1 - 2);
    let ids: Vec<&str> = prepared.examples.iter().map(|e| e.id.as_str()).collect();
    assert!(ids.contains(&"tweets.csv:2"), "{ids:?}");
    assert!(prepared.examples.iter().any(|e| e.text == "@air you cancelled my flight. not happy"));
}

#[test]
fn files_can_stand_for_labels() {
    let prepared = prepare(&recipe("reviews", "2", no_limit())).unwrap();
    let s = &prepared.summary;
    assert_eq!(
        s.files.iter().map(|(name, n)| (name.as_str(), *n)).collect::<Vec<_>>(),
        [("pos.txt", 11), ("neg.txt", 10)]
    );
    assert_eq!(s.dropped, BTreeMap::from([("no text".to_owned(), 1)]));
    assert_eq!(s.duplicates.conflicting_texts, 1);
    assert_eq!((total(&s.kept, "negative"), total(&s.kept, "positive")), (9, 9));
    let good = prepared.examples.iter().find(|e| e.text == "音质出色").unwrap();
    assert_eq!((good.label.as_str(), good.label_id), ("positive", 1));
}

#[test]
fn splits_labels_and_speakers_come_from_columns() {
    let prepared = prepare(&recipe("clips", "2", no_limit())).unwrap();
    let per_split: Vec<_> = prepared.summary.kept.iter().map(|s| (s.split, s.examples)).collect();
    assert_eq!(per_split, [(Split::Train, 3), (Split::Dev, 3), (Split::Test, 4)]);
    assert_eq!(prepared.summary.speakers, Some(3));
    assert_eq!(prepared.summary.dialogues, None);
    let smart = prepared.examples.iter().find(|e| e.id == "c3/4").unwrap();
    assert_eq!(
        (smart.text.as_str(), smart.speaker.as_deref(), smart.value),
        ("funny, and smart", Some("c3"), Some(1.2))
    );
    // The same rating of 0 is positive, neutral or left out, as the scheme says.
    assert_eq!(prepared.summary.read.iter().map(|s| s.classes["positive"]).sum::<u64>(), 7);
    let three = prepare(&recipe("clips", "3", no_limit())).unwrap().summary;
    assert_eq!(total(&three.kept, "neutral"), 3);
    let names = prepare(&recipe("clips", "names", no_limit())).unwrap().summary;
    assert_eq!(names.dropped, BTreeMap::from([("label `Neutral`".to_owned(), 3)]));
}

#[test]
fn published_splits_keep_their_repetitions_unless_the_card_wants_them_removed() {
    let mut recipe = recipe("sentences", "5", no_limit());
    let s = prepare(&recipe).unwrap().summary;
    assert_eq!(
        (s.duplicates.repeats_within_split, s.duplicates.repeats_across_splits, s.duplicates.removed),
        (1, 1, 0)
    );
    recipe.duplicates = Duplicates::Remove;
    recipe.scheme.expect.kept.clear();
    let s = prepare(&recipe).unwrap();
    assert_eq!(s.summary.duplicates.removed, 2);
    assert!(texts(&s, Split::Test).contains(&"mostly charming ."), "what is in test stays there");
    assert!(!texts(&s, Split::Train).contains(&"mostly charming ."));
}

#[test]
fn words_are_counted_over_all_rows() {
    let s = prepare(&recipe("sentences", "5", no_limit())).unwrap().summary;
    assert_eq!(s.read.iter().map(|s| s.words).sum::<u64>(), 9 + 3 + 8 + 3 + 3 + 3 + 3 + 3 + 3 + 6 + 4 + 2);
    assert!((s.words_per_utterance() - 50.0 / 12.0).abs() < 1e-12);
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place() {
    let tweets = recipe("tweets", "3", no_limit());
    let ratings = recipe("ratings", "3", no_limit());
    for (recipe, from, to, expected) in [
        (
            &tweets,
            "positive,0.9",
            "postive,0.9",
            "tweets.csv: line 11: unknown label `postive`; known: negative, neutral, positive",
        ),
        (
            &tweets,
            "sentiment,",
            "feeling,",
            "tweets.csv: no column `sentiment`; the columns are: feeling, confidence, text",
        ),
        (
            &tweets,
            "landing in",
            "landing, in",
            "tweets.csv: line 15: 4 fields where there are 3 columns (sentiment, confidence, text)",
        ),
        (&ratings, "\t-3.4\t", "\tbad\t", "ratings.txt: line 4: the rating `bad` is no number"),
        (&ratings, "\t-3.4\t", "\tNaN\t", "ratings.txt: line 4: the rating `NaN` is no number"),
        (&ratings, "\t-3.4\t", "\t-3,4\t", "ratings.txt: line 4: the rating `-3,4` is no number"),
        (&ratings, "\t-3.4\t", "\t", "ratings.txt: line 4: 2 fields where there are 3 columns (id, rating, text)"),
        (&ratings, "funny", "fun\u{ff}", "ratings.txt: line 1, byte 17: 0xff is not UTF-8"),
        (&ratings, "\n2\t", "\n1\t", "the id `1` names two rows"),
    ] {
        assert_eq!(message(prepare_with(recipe, |text| text.replacen(from, to, 1))), expected);
    }
    let outside = message(prepare_with(&ratings, |text| text.replacen("\t-3.4\t", "\t-34\t", 1)));
    assert!(outside.starts_with("ratings.txt: line 4: the rating -34 lies in no class"), "{outside}");
    assert_eq!(message(prepare_with(&ratings, |_| String::new())), "ratings.txt: the file has no rows");
}

#[test]
fn unknown_words_in_the_split_column_are_refused() {
    let clips = recipe("clips", "3", no_limit());
    let found = message(prepare_with(&clips, |text| text.replacen(",valid", ",validation", 1)));
    assert_eq!(found, "label.csv: line 5: unknown split `validation`; known: test, train, valid");
}

#[test]
fn counts_that_are_not_the_cards_are_shown_side_by_side() {
    let ratings = recipe("ratings", "2", no_limit());
    let found = message(prepare_with(&ratings, |text| text.replacen("\r\n30\t4\tA masterpiece.", "", 1)));
    insta::assert_snapshot!(found, @r"
    the counts of dataset `ratings` under scheme `2` are not those of its card
    rows       expected      found
    all              30         29  <-
    negative         11         11
    positive         13         12  <-
    ");
}

#[test]
fn empty_splits_and_missing_classes_are_refused() {
    let dev = recipe("ratings", "2", Limit { dev: Some(3), ..no_limit() });
    assert_eq!(message(prepare(&dev)), "dataset `ratings`, scheme `2`: the dev split is empty");

    let few = recipe("ratings", "5", Limit { test: Some(2), ..no_limit() });
    let found = prepare(&few).unwrap_err();
    assert!(found.message.contains("the test split (2 examples) has no example of `"), "{}", found.message);
    assert!(found.help.unwrap().contains("raise `limit.test`"));

    let mut clips = recipe("clips", "3", no_limit());
    clips.fields.splits.values_mut().for_each(|s| *s = Split::Test);
    assert_eq!(message(prepare(&clips)), "dataset `clips`, scheme `3`: the train split is empty");
    clips.limit.train = Some(0);
    assert_eq!(prepare(&clips).unwrap().examples.len(), 10);
}

fn all_cards() -> Vec<(String, Card)> {
    let mut files: Vec<_> = fs::read_dir(root().join("datasets")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|path| cards(path)).collect()
}

#[test]
fn every_card_of_the_project_is_sound() {
    let all = all_cards();
    assert!(all.len() >= 12);
    for (name, card) in &all {
        for (scheme_name, scheme) in &card.schemes {
            assert!(scheme.expect.kept.contains_key(&Split::Test), "{name}, scheme {scheme_name}, asserts no count");
        }
    }
    for (name, card) in all.into_iter().chain(cards(&fixtures().join("datasets.toml"))) {
        assert_eq!(card.diagnostics(&nowhere()), [], "{name}");
    }
}

/// A recipe of one of the paper's datasets, without the counts of its real files.
fn paper_recipe(name: &str, scheme: &str) -> PreparationSpec {
    let mut card = all_cards().into_iter().find(|(n, _)| n == name).unwrap().1;
    card.expect = Default::default();
    let mut scheme_table = card.schemes[scheme].clone();
    scheme_table.expect = Default::default();
    PreparationSpec::new(name, &card, scheme, &scheme_table, no_limit())
}

/// Prepares from `tests/fixtures/datasets/paper`, with the text of a file changed on the way.
fn prepare_paper(recipe: &PreparationSpec, change: impl Fn(&str, String) -> String) -> Result<Prepared> {
    recipe.prepare(|file| {
        let path = fixtures().join("paper").join(&recipe.dataset).join(file);
        Ok(change(file, fs::read_to_string(&path).io_at("read", &path)?).into_bytes())
    })
}

#[test]
fn dialogues_are_read_from_lists_of_lists() {
    let friends = prepare_paper(&paper_recipe("friends", "7"), |_, text| text).unwrap();
    let s = &friends.summary;
    assert_eq!((s.rows(), s.dialogues, s.speakers), (32, Some(8), Some(4)));
    assert_eq!(s.dropped, BTreeMap::from([("label `non-neutral`".to_owned(), 4)]));
    let of = |text: &str| friends.examples.iter().find(|e| e.text == text).unwrap();
    let married = of("Wait\u{2026} you two are married?");
    assert_eq!((married.label.as_str(), married.split), ("surprise", Split::Train));
    assert_eq!(married.id, "Friends_train.json:2/2");
    assert_eq!(married.dialogue.as_deref(), Some("Friends_train.json:2"));
    assert_eq!(of("He didn\u{2019}t even say goodbye.").speaker.as_deref(), Some("Ida"));

    let mastodon = prepare_paper(&paper_recipe("mastodon", "3"), |_, text| text).unwrap().summary;
    assert_eq!((mastodon.dialogues, mastodon.speakers), (Some(4), None));
    assert_eq!(mastodon.labels.iter().map(|l| total(&mastodon.kept, l)).collect::<Vec<_>>(), [4, 4, 4]);
}

#[test]
fn lists_of_series_make_the_splits_of_m3ed() {
    let m3ed = prepare_paper(&paper_recipe("m3ed", "7"), |_, text| text).unwrap();
    let s = &m3ed.summary;
    assert_eq!((s.rows(), s.dialogues, s.speakers), (28, Some(8), Some(8)));
    assert_eq!(
        s.kept.iter().map(|c| (c.split, c.examples)).collect::<Vec<_>>(),
        [(Split::Train, 14), (Split::Dev, 7), (Split::Test, 7)]
    );
    let afraid = m3ed.examples.iter().find(|e| e.text == "外面好像有人。").unwrap();
    assert_eq!((afraid.id.as_str(), afraid.label.as_str()), ("annotation.json:qiao/qiao_2/qiao_2_2", "fear"));
    assert_eq!((afraid.dialogue.as_deref(), afraid.speaker.as_deref()), (Some("qiao_2"), Some("qiao-甲")));
    assert_eq!(s.files.keys().collect::<Vec<_>>(), ["annotation.json"]);
    let read: Vec<_> = s.sources.iter().map(|f| (f.name.as_str(), f.pin)).collect();
    let lists = ["movie_list_train.txt", "movie_list_val.txt", "movie_list_test.txt", "annotation.json"];
    assert_eq!(read, lists.map(|name| (name, Pin::Canonical)));
}

#[test]
fn what_the_lists_of_splits_and_the_data_disagree_on_is_placed() {
    let recipe = paper_recipe("m3ed", "7");
    let with = |file: &'static str, change: fn(String) -> String| {
        message(prepare_paper(&recipe, move |name, text| if name == file { change(text) } else { text }))
    };
    assert_eq!(
        with("movie_list_val.txt", |text| text + "\n\nsan\n"),
        "movie_list_val.txt: line 3: no row has `san` in the column `series`"
    );
    assert_eq!(
        with("movie_list_val.txt", |text| text.replace("shan", "san")),
        "annotation.json: series shan, dialogue shan_1, utterance shan_1_1: `shan` is in none of the lists of splits"
    );
    assert_eq!(
        with("movie_list_test.txt", |text| text + "\nqiao"),
        "movie_list_test.txt: line 2: `qiao` is listed twice; first in movie_list_train.txt: line 2"
    );
    assert_eq!(
        with("annotation.json", |text| text.replacen("\"Sad\"", "\"Blue\"", 1)),
        "annotation.json: series lan, dialogue lan_1, utterance lan_1_3: unknown label `Blue`; known: Anger, Disgust, Fear, \
         Happy, Neutral, Sad, Surprise"
    );
    assert_eq!(
        with("annotation.json", |text| text.replacen("\"Text\"", "\"Txt\"", 1)),
        "annotation.json: series lan, dialogue lan_1, utterance lan_1_1: no `Text` here; there is: series, dialogue, utterance, \
         Speaker, StartTime, EndTime, Txt, EmoAnnotation.final_main_emo, speaker"
    );
    let cut = with("annotation.json", |text| text.chars().take(400).collect());
    assert_eq!(cut, "annotation.json: line 26, column 3: the file ends inside a table");
}

#[test]
fn both_usual_cuts_of_ratings_into_two_classes_are_there() {
    let mosi = |scheme: &str| prepare_paper(&paper_recipe("mosi", scheme), |_, text| text).unwrap();
    let classes = |p: &Prepared| p.summary.labels.iter().map(|l| total(&p.summary.kept, l)).collect::<Vec<_>>();
    assert_eq!(
        (classes(&mosi("2")), classes(&mosi("2-nonzero")), classes(&mosi("3"))),
        (vec![4, 8], vec![4, 4], vec![4, 4, 4])
    );
    assert!(mosi("2").examples.iter().any(|e| e.text == "really funny, go see it" && e.id == "clip1/3"));
    let sims = prepare_paper(&paper_recipe("ch-sims", "2"), |_, text| text).unwrap();
    assert_eq!(classes(&sims), [8, 4]);
    let wrong = prepare_paper(&paper_recipe("mosi", "2"), |_, text| text.replacen(",text,", ",txt,", 1));
    assert_eq!(
        message(wrong),
        "label.csv: no column `text`; the columns are: video_id, clip_id, txt, label, label_T, label_A, label_V, annotation, mode"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn counts_do_not_depend_on_the_order_of_rows_where_splits_are_drawn(
        order in Just((0..17usize).collect::<Vec<_>>()).prop_shuffle()
    ) {
        let recipe = recipe("tweets", "3", no_limit());
        let shuffled = prepare_with(&recipe, |text| {
            let mut lines = text.lines();
            let header = lines.next().unwrap();
            let rows: Vec<&str> = lines.collect();
            assert_eq!(rows.len(), order.len());
            std::iter::once(header).chain(order.iter().map(|i| rows[*i])).collect::<Vec<_>>().join("\n")
        })
        .unwrap();
        let straight = prepare(&recipe).unwrap();
        let counts = |p: &Prepared| (p.summary.read.clone(), p.summary.available.clone(), p.summary.duplicates.clone());
        prop_assert_eq!(counts(&shuffled), counts(&straight));
    }
}

#[test]
fn contradictions_in_a_card_are_found() {
    let found = |change: fn(&mut Card)| {
        let mut card = card("ratings");
        change(&mut card);
        card.diagnostics(&nowhere()).into_iter().map(|d| d.message).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(found(|_| {}), "");
    assert!(found(|c| c.split = None).contains("doesn't say how rows are split"));
    assert!(found(|c| c.fields.split = Some("mode".into())).contains("`split` and `fields.split` at once"));
    assert!(found(|c| c.fields.value = None).contains("scheme `2` needs a value"));
    assert!(found(|c| c.source.clear()).contains("names no file"));
    assert!(found(|c| c.schemes.clear()).contains("no label scheme"));
    assert!(
        found(|c| c.fields.split_lists = BTreeMap::from([(Split::Test, "tests.txt".into())]))
            .contains("`tests.txt` is not among the sources; lists of splits need a column")
    );
    assert!(
        found(|c| c.files = vec![super::card::FileSpec { name: "x".into(), split: None, label: None }])
            .contains("`x` is not among the sources")
    );
}
