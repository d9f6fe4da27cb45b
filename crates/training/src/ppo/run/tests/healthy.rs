//! Runs in which nothing is wrong have no finding, faults end them, and text beside helps both ways.

use model::trainable::Trainable;

use super::*;
use crate::ppo::doctor::Findings;

/// The recipes of which healthy runs are tried.
fn recipes() -> [(&'static str, PpoRecipe); 4] {
    let lora = LoraRecipe { rank: 2, alpha: None, targets: Target::ALL.to_vec() };
    let short = PpoRecipe { steps: 12, learning_rate: 1e-3, checkpoint_every: 12, ..recipe() };
    [
        ("own", short.clone()),
        ("trunk", PpoRecipe { values: ValueKind::Trunk, whiten_rewards: true, ..short.clone() }),
        ("lora", PpoRecipe { lora: Some(lora), beyond: BeyondCut::Value, ..short.clone() }),
        ("text", PpoRecipe { pretraining_coefficient: 0.2, pretraining_rows: 2, ..short }),
    ]
}

#[test]
fn healthy_runs_of_five_seeds_have_no_finding() {
    let given = Given::new();
    for seed in 0..5 {
        for (kind, recipe) in recipes() {
            let stage = given.stage(&format!("{kind}-{seed}"), recipe);
            let folder = stage.folder.clone();
            assert_eq!(work(PpoStage { seed, ..stage }, 2, u64::MAX), Ended::Finished);
            let findings = Findings::read(&folder).unwrap();
            assert!(folder.join("doctor.json").exists() && findings.is_empty(), "{findings:?}");
        }
    }
}

#[test]
fn thorough_runs_have_the_same_bytes() {
    let given = Given::new();
    let text = recipes()[3].1.clone();
    let recipe = PpoRecipe { steps: 2, checkpoint_every: 1, ..text };
    let usual = given.stage("usual", recipe.clone());
    let thorough = PpoStage { thorough: true, ..given.stage("thorough", recipe) };
    let folders = [usual.folder.clone(), thorough.folder.clone()];
    assert_eq!(work(usual, 1, u64::MAX), Ended::Finished);
    assert_eq!(work(thorough, 2, u64::MAX), Ended::Finished);
    assert!(files(&folders[0]) == files(&folders[1]));
}

#[test]
fn a_fault_ends_the_run_with_its_name_and_keeps_nothing_of_the_step() {
    let given = Given::new();
    let stage = given.stage("fault", recipe());
    let folder = stage.folder.clone();
    assert_eq!(work(stage.clone(), 1, 2), Ended::Stopped(2));
    let before = files(&folder);
    let mut trainer = PpoTrainer::open(stage, &device(1)).unwrap();
    // What a person is asked is not what ends a completion here.
    trainer.ppo.options.begins_as_reference = true;
    trainer.ppo.steps = 0;
    let error = trainer.run(&mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    assert!(error.starts_with("step 1: the policy begins as the reference"), "{error}");
    assert!(error.contains("reference -") && error.contains("; check that"), "{error}");
    let findings = Findings::read(&folder).unwrap();
    assert_eq!(findings[0].name, "reference-is-another-model");
    let after = files(&folder);
    let is_kept = |name: &String| name == "doctor.json" || after.get(name) == before.get(name);
    assert!(before.keys().all(is_kept), "checkpoints and metrics are those of step 2");
}

/// Nats a token of the text of pretraining under a model.
fn loss_of_text(model: &Path) -> f64 {
    let mut model = Trainable::read(&device(1), model, Precision::F32).unwrap();
    // "hi i hhi " again and again, in the tokens of the test's corpus.
    let tokens: Vec<u32> = [2, 3, 1, 3, 0, 2, 3].into_iter().cycle().take(29).collect();
    let positions: Vec<u32> = (0..28).collect();
    let batch = model::trainable::MicroBatch {
        tokens: &tokens[..28],
        positions: &positions,
        targets: &tokens[1..],
        weights: &[1.0; 28],
        scale: 1.0,
        temperature: 1.0,
    };
    let logprobs = model.losses(&batch).logprobs;
    -logprobs.iter().map(|&logprob| f64::from(logprob)).sum::<f64>() / 28.0
}

#[test]
fn text_beside_and_scores_both_gain_over_a_range_of_coefficients() {
    let given = Given::new();
    let before = loss_of_text(&given.path("base"));
    let mut told = Vec::new();
    for coefficient in [0.0, 0.03, 0.1, 0.3, 1.0, 300.0] {
        let recipe = PpoRecipe {
            steps: 20,
            episodes: 16,
            checkpoint_every: 20,
            pretraining_coefficient: coefficient,
            ..recipe()
        };
        let stage = given.stage(&format!("scan-{coefficient}"), recipe);
        let mut trainer = PpoTrainer::open(stage.clone(), &device(2)).unwrap();
        assert_eq!(trainer.run(&mut |_| ControlFlow::Continue(())).unwrap(), Ended::Finished);
        let lines = metrics::read_lines::<PpoMetrics>(&stage.folder).unwrap();
        let score = |lines: &[PpoMetrics]| {
            lines.iter().map(|line| line.score).sum::<f64>() / lines.len() as f64
        };
        let gained = score(&lines[15..]) - score(&lines[..3]);
        let text = loss_of_text(&trainer.newest_checkpoint().unwrap()) - before;
        let names: Vec<_> =
            Findings::read(&stage.folder).unwrap().into_iter().map(|f| f.name).collect();
        told.push((coefficient, gained, text, names));
    }
    let useful = &told[2..5];
    let all_gain = useful.iter().all(|(_, gained, text, _)| *gained > 0.2 && *text < -0.2);
    assert!(all_gain, "before {before}: {told:?}");
    // Without a mean over its own tokens the text would count as in the last: nothing is learned.
    let (_, swamped, _, names) = told.last().unwrap();
    assert!(names.contains(&"text-beside-swamps-the-answers".into()), "{told:?}");
    assert!(useful.iter().all(|(_, gained, ..)| gained > swamped), "{told:?}");
}
