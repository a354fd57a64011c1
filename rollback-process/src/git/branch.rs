//! A rollback on record: a branch whose one new commit has the target's files and says why.

use std::fmt::Write as _;

use rollback_core::model::{DeploymentId, ServiceId, Timestamp};

use super::{
    command::{GitError, git},
    releases::GitReleases,
};

/// What is put on record about a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RollbackRecord {
    /// The service.
    pub service: ServiceId,
    /// The deployment that was rolled back.
    pub deployment: DeploymentId,
    /// The commit that was left.
    pub from: String,
    /// The commit that serves again.
    pub to: String,
    /// Why, in a sentence.
    pub reason: String,
    /// The trigger that decided it, or the person.
    pub trigger: String,
    /// When it was decided.
    pub at: Timestamp,
}

impl RollbackRecord {
    /// A rollback of `deployment` from one commit to another.
    #[must_use]
    pub fn new(
        service: ServiceId,
        deployment: DeploymentId,
        from: impl Into<String>,
        to: impl Into<String>,
        at: Timestamp,
    ) -> Self {
        Self {
            service,
            deployment,
            from: from.into(),
            to: to.into(),
            reason: String::new(),
            trigger: String::new(),
            at,
        }
    }

    /// Why.
    #[must_use]
    pub fn because(mut self, trigger: impl Into<String>, reason: impl Into<String>) -> Self {
        self.trigger = trigger.into();
        self.reason = reason.into();
        self
    }
}

/// A branch that holds a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RollbackBranch {
    /// `rollback/SERVICE-DEPLOYMENT`.
    pub name: String,
    /// Its one new commit, on top of the target.
    pub commit: String,
}

impl GitReleases {
    /// Makes the branch `rollback/SERVICE-DEPLOYMENT`: on top of the target, a commit with the
    /// target's files, whose message and trailers say from where, to where, why, when and by what.
    /// The same record again is the same branch.
    ///
    /// # Errors
    /// No such commit, a branch of that name that holds something else, or git fails.
    pub async fn rollback_branch(
        &self,
        record: &RollbackRecord,
    ) -> Result<RollbackBranch, GitError> {
        let (from, to) = (
            self.resolve(&record.from).await?,
            self.resolve(&record.to).await?,
        );
        let name = self.branch_name(record).await?;
        let message = message(record, &from.id, &to.id);
        let seconds = record.at.as_millis().div_euclid(1000);
        let date = format!("@{seconds} +0000");
        let tree = format!("{}^{{tree}}", to.id);
        let args = ["commit-tree", "-p", &to.id, "-m", &message, &tree];
        // Always the same commit for the same record, whoever makes it.
        let commit = git(&self.repository, self.limit, &args, |command| {
            for who in ["AUTHOR", "COMMITTER"] {
                command
                    .env(format!("GIT_{who}_NAME"), "rollback")
                    .env(format!("GIT_{who}_EMAIL"), "rollback@localhost")
                    .env(format!("GIT_{who}_DATE"), &date);
            }
        })
        .await?;
        let full = format!("refs/heads/{name}");
        let none = "0".repeat(commit.len());
        let why = format!("rollback: {}", record.deployment);
        let update = [
            "update-ref",
            "--create-reflog",
            "-m",
            &why,
            &full,
            &commit,
            &none,
        ];
        if let Err(error) = self.git(&update).await {
            return match self.resolve(&full).await {
                Ok(there) if there.id == commit => Ok(RollbackBranch { name, commit }),
                Ok(_) => Err(GitError::BranchTaken { name }),
                Err(_) => Err(error),
            };
        }
        Ok(RollbackBranch { name, commit })
    }

    /// Pushes the branch, and nothing else, to a remote. What the remote has under that name and is
    /// not an ancestor of it is an error, not overwritten.
    ///
    /// # Errors
    /// The remote says no, or git fails.
    pub async fn push(&self, branch: &RollbackBranch, remote: &str) -> Result<(), GitError> {
        if remote.is_empty() || remote.starts_with('-') {
            return Err(GitError::Name {
                text: remote.to_owned(),
                what: "a remote",
            });
        }
        let refspec = format!("refs/heads/{0}:refs/heads/{0}", branch.name);
        let push = ["push", "--porcelain", remote, &refspec];
        self.git(&push).await.map(drop)
    }

    async fn branch_name(&self, record: &RollbackRecord) -> Result<String, GitError> {
        let plain = |text: &str| -> String {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            text.chars()
                .map(|c| if allowed(c) { c } else { '-' })
                .collect()
        };
        let (service, deployment) = (record.service.as_str(), record.deployment.as_str());
        let name = format!("rollback/{}-{}", plain(service), plain(deployment));
        let check = ["check-ref-format", "--branch", &name];
        match self.git(&check).await {
            Ok(_) => Ok(name),
            Err(_) => Err(GitError::Name {
                text: name,
                what: "a branch",
            }),
        }
    }
}

/// The message; each trailer in one line, whatever was in the texts.
fn message(record: &RollbackRecord, from: &str, to: &str) -> String {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
    let mut text = format!("Roll back {} to {}\n", record.service, short(to));
    if !record.reason.trim().is_empty() {
        let _ = write!(text, "\n{}\n", line(&record.reason));
    }
    let trailers = [
        ("Rollback-Service", record.service.to_string()),
        ("Rollback-Deployment", record.deployment.to_string()),
        ("Rollback-From", from.to_owned()),
        ("Rollback-To", to.to_owned()),
        ("Rollback-Trigger", line(&record.trigger)),
        ("Rollback-Reason", line(&record.reason)),
        ("Rollback-Time", record.at.to_string()),
    ];
    text.push('\n');
    for (name, value) in trailers.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "{name}: {value}");
    }
    text
}
