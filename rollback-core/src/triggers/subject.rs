//! What was last answered about an arm: as a whole, or by each of its instances.

use super::held::Held;
use crate::model::{InstanceId, Timestamp};

/// A subject as a whole, or its instances one by one where the source answers for each.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Subject {
    pub(super) whole: Held,
    pub(super) instances: Vec<(InstanceId, Held)>,
}

impl Subject {
    pub(super) fn of(&mut self, instance: Option<&InstanceId>, at: Timestamp) -> &mut Held {
        let Some(instance) = instance else {
            return &mut self.whole;
        };
        let known = self.instances.iter().position(|(id, _)| id == instance);
        let position = known.unwrap_or_else(|| {
            // Instances that are gone make room for new ones.
            self.instances.retain(|(_, held)| held.is_fresh(at));
            self.instances.push((instance.clone(), Held::default()));
            self.instances.len() - 1
        });
        match self.instances.get_mut(position) {
            Some((_, held)) => held,
            None => &mut self.whole,
        }
    }

    /// The instances that count: those that still answer, or all if none does.
    pub(super) fn counted(&self, at: Timestamp) -> impl Iterator<Item = &InstanceId> {
        let any = self.instances.iter().any(|(_, held)| held.is_fresh(at));
        self.instances
            .iter()
            .filter(move |(_, held)| !any || held.is_fresh(at))
            .map(|(id, _)| id)
    }

    pub(super) fn held(&self, instance: Option<&InstanceId>) -> &Held {
        instance
            .and_then(|wanted| self.instances.iter().find(|(id, _)| id == wanted))
            .map_or(&self.whole, |(_, held)| held)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Held> {
        std::iter::once(&self.whole).chain(self.instances.iter().map(|(_, held)| held))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        condition::Unit,
        model::{Reading, Sample, Window},
    };

    const POLL: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn instances_that_are_gone_do_not_count() {
        let (a, b) = (InstanceId::new("a").unwrap(), InstanceId::new("b").unwrap());
        let mut subject = Subject::default();
        let word = |to| {
            let window = Window::new(at(to - 1), at(to));
            Reading::new(window, Sample::State("up".into()))
        };
        subject
            .of(Some(&a), at(1))
            .observe(at(1), &word(1), Unit::State, POLL, None);
        assert_eq!(subject.counted(at(9)).count(), 1);
        subject
            .of(Some(&b), at(9))
            .observe(at(9), &word(9), Unit::State, POLL, None);
        assert_eq!(subject.counted(at(9)).collect::<Vec<_>>(), [&b]);
    }
}
