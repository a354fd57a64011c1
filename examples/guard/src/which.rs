//! Which service is meant, by name or journal.

use rollback::{model::ServiceId, store};

use crate::{
    archive,
    cli::At,
    exit::{Fallible, Trouble},
    place::Place,
};

impl At {
    /// The place of a service that has a journal: the named one, or the only one in it.
    pub(crate) fn known(&self) -> Fallible<Place> {
        if let Some(service) = &self.service {
            return Place::new(&self.journal, service.clone());
        }
        archive::must_exist(&self.journal)?;
        let mut services = store::services(&self.journal).map_err(Trouble::broke)?;
        match (services.pop(), services.len()) {
            (Some(only), 0) => Place::new(&self.journal, only),
            (None, _) => Err(Trouble::asked(format!(
                "{} has no service yet: deploy with `guard run`",
                self.journal.display()
            ))),
            (Some(last), _) => {
                services.push(last);
                let names: Vec<&str> = services.iter().map(ServiceId::as_str).collect();
                Err(Trouble::asked(format!(
                    "{} has several services: say which with --service ({})",
                    self.journal.display(),
                    names.join(", ")
                )))
            }
        }
    }
}
