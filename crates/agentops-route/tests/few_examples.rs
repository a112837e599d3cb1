//! Learning a few labelled requests never makes routing worse than the files alone: the best label, the best three, and
//! the calibration of the confidence. Checked over random subsets of a small public set; see data/README.md.

use agentops_route::catalogue::Entry;
use agentops_route::eval::calibration_error;
use agentops_route::router::{Example, Router};

#[derive(serde::Deserialize)]
struct Tool {
    label: String,
    description: String,
    train: Vec<String>,
    asked: Vec<String>,
}

fn tools() -> Vec<Tool> {
    include_str!("data/toole.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Random subsets of each size.
const SUBSETS: u64 = 3;
/// Requests of 240 that may become wrong in a single subset, because near ties turn. Over all subsets with as many learnt
/// labels together none may.
const NOISE: usize = 2;

#[derive(Debug, Default)]
struct Figures {
    first: usize,
    first_three: usize,
    calibration_error: f64,
}

fn ask(router: &Router, tools: &[Tool]) -> Figures {
    let (mut figures, mut rows) = (Figures::default(), Vec::new());
    for tool in tools {
        for text in &tool.asked {
            let answer = router.route(text);
            let is_right = |(label, _): &(usize, f32)| router.label(*label) == tool.label;
            figures.first += usize::from(is_right(&answer.ranked[0]));
            figures.first_three += usize::from(answer.ranked.iter().take(3).any(is_right));
            rows.push((f64::from(answer.confidence), is_right(&answer.ranked[0])));
        }
    }
    figures.calibration_error = calibration_error(&rows);
    figures
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % end as u64).unwrap()
    }

    fn take<T: Clone>(&mut self, from: &[T], count: usize) -> Vec<T> {
        let mut rest = from.to_vec();
        (0..count.min(from.len())).map(|_| rest.swap_remove(self.below(rest.len()))).collect()
    }
}

#[test]
fn learning_a_few_requests_is_never_worse_than_the_files_alone() {
    let tools = tools();
    let entries: Vec<Entry> = tools
        .iter()
        .map(|tool| Entry {
            label: tool.label.clone(),
            name: tool.label.clone(),
            description: tool.description.clone(),
            ..Entry::default()
        })
        .collect();
    let bare = Router::new(&entries);
    let cold = ask(&bare, &tools);
    let numbers: Vec<usize> = (0..tools.len()).collect();
    for labels in [3, tools.len() / 2, tools.len()] {
        let mut sum = Figures::default();
        let mut subsets = 0;
        let counts: &[usize] = if labels < tools.len() { &[1, 2, 5] } else { &[1, 2, 5, 10] };
        for each in counts.iter().copied() {
            for seed in 0..if each > 5 { 1 } else { SUBSETS } {
                let mut random = Random(seed * 1_000 + labels as u64 * 20 + each as u64);
                let mut examples = Vec::new();
                for tool in random.take(&numbers, labels) {
                    let Tool { label, train, .. } = &tools[tool];
                    let texts = random.take(train, each);
                    examples.extend(texts.into_iter().map(|text| Example { text, label: label.clone() }));
                }
                let mut router = bare.clone();
                router.fit(&examples, &[]);
                let learnt = ask(&router, &tools);
                let what = format!("{each} requests for each of {labels} labels, subset {seed}: {learnt:?}, cold {cold:?}");
                assert!(learnt.first + NOISE >= cold.first, "{what}");
                assert!(learnt.first_three + NOISE >= cold.first_three, "{what}");
                assert!(learnt.calibration_error <= cold.calibration_error + 0.01, "{what}");
                sum.first += learnt.first;
                sum.first_three += learnt.first_three;
                sum.calibration_error += learnt.calibration_error;
                subsets += 1;
            }
        }
        let what = format!("{subsets} subsets of {labels} labels: {sum:?}, cold each time {cold:?}");
        println!("{what}");
        assert!(sum.first >= cold.first * subsets, "{what}");
        assert!(sum.first_three >= cold.first_three * subsets, "{what}");
        assert!(sum.calibration_error <= cold.calibration_error * subsets as f64, "{what}");
    }
}
