//! A step as the doctor sees it: what was found is told, and left in the stage's folder.

use super::{PpoEvent, PpoObserver, PpoStage, PpoTrainer};
use crate::Error;
use crate::metrics::{METRICS_FILE, read_lines};
use crate::ppo::PpoMetrics;
use crate::ppo::doctor::{Background, Finding, Findings, Gravity, Signs};
use crate::reward::Combine;

/// What was found so far, and what is looked for.
#[derive(Debug)]
pub(super) struct Health {
    signs: Signs,
    findings: Vec<Finding>,
}

impl Health {
    /// Hears the steps that are in the folder already: the same is found again.
    pub(super) fn open(stage: &PpoStage) -> Result<Self, Error> {
        let signs = Signs::new(Background {
            kl: stage.recipe.kl_controller(),
            begins_as_reference: stage.begins_as_reference(),
            keeps_scale: stage.reward.combine == Combine::Mean,
        });
        let mut health = Self { signs, findings: Vec::new() };
        if stage.folder.join(METRICS_FILE).exists() {
            for metrics in read_lines::<PpoMetrics>(&stage.folder)? {
                health.findings.extend(health.signs.hear(&metrics));
            }
        }
        Ok(health)
    }
}

impl PpoTrainer {
    /// A step that was taken, and what it is a sign of. One with a fault is not kept.
    pub(super) fn examine(
        &mut self,
        stepped: Result<PpoMetrics, Error>,
        observer: &mut PpoObserver<'_>,
    ) -> Result<PpoMetrics, Error> {
        let metrics = match stepped {
            Err(Error::Fault { finding }) => return Err(self.give_up(*finding)),
            stepped => stepped?,
        };
        for finding in self.health.signs.hear(&metrics) {
            if finding.gravity == Gravity::Fault {
                return Err(self.give_up(finding));
            }
            let _ = observer(PpoEvent::Warned { step: metrics.step, warning: &finding });
            self.health.findings.push(finding);
        }
        Ok(metrics)
    }

    /// Leaves what ends the run where it can be read again.
    fn give_up(&mut self, finding: Finding) -> Error {
        self.health.findings.push(finding.clone());
        match self.leave_findings() {
            Ok(()) => Error::Fault { finding: Box::new(finding) },
            Err(error) => error,
        }
    }

    /// Leaves what was found in the stage's folder, also where it is nothing.
    pub(super) fn leave_findings(&self) -> Result<(), Error> {
        Findings::write(&self.stage.folder, &self.health.findings)
    }
}
