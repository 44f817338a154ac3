//! One metric with all its rows.

/// Labels of a row.
pub(super) type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) rows: Vec<(Labels, f64)>,
}

impl Family {
    pub(super) fn new(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name: name.into(), help: help.into(), rows: Vec::new() }
    }

    /// With one row of no labels.
    pub(super) fn of_one(mut self, value: f64) -> Self {
        self.rows.push((Vec::new(), value));
        self
    }

    /// A row; none where there is no value.
    pub(super) fn add(&mut self, common: &Labels, own: &[(&'static str, &str)], value: Option<f64>) {
        let Some(value) = value else { return };
        let own = own.iter().map(|(name, value)| (*name, (*value).to_owned()));
        self.rows.push((common.iter().cloned().chain(own).collect(), value));
    }

    /// One row for each state that there is, 1 for the present one.
    pub(super) fn add_states(&mut self, common: &Labels, states: &[&'static str], present: Option<&str>) {
        let Some(present) = present else { return };
        for state in states {
            self.add(common, &[("phase", state)], Some(f64::from(u8::from(*state == present))));
        }
    }

    /// One row for each condition.
    pub(super) fn add_conditions(&mut self, common: &Labels, conditions: &[holdfast_api::condition::Condition]) {
        for condition in conditions {
            self.add(common, &[("condition", &condition.type_), ("status", &condition.status)], Some(1.0));
        }
    }
}
