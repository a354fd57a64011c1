//! Mocks of every trait, by `mockall`: for a test that wants to say call by call what happens.
//!
//! ```
//! use rollback_core::{model::*, ports::*};
//! use rollback_testkit::mock::MockDeployer;
//!
//! let mut deployer = MockDeployer::new();
//! deployer.expect_capabilities()
//!     .return_const(Capabilities::least(std::time::Duration::ZERO));
//! deployer.expect_observe()
//!     .returning(|_| Err(ChangeError::not_sent("connection refused")));
//! ```
#![allow(
    missing_docs,
    reason = "mockall writes the methods; they are those of the traits"
)]

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use mockall::mock;
use rollback_core::{
    entry::Entry,
    model::{
        Accepted, ChangeError, ChangeId, ChangeRequest, ChannelId, Etag, Explanation, Instance,
        MetricId, Notice, NoticeKey, Observation, ReadError, ReadRequest, Reading, Release,
        ReleaseId, Scope, Seq, ServiceId, Timestamp, TriggerId, Verdict, Weight,
    },
    ports::{
        Batch, Capabilities, Delivered, Deployer, Durability, Evidence, Journal, JournalError,
        Lease, MetricNeed, MetricSource, Notifier, NotifyError, ReleaseStore, ReleaseStoreError,
        SourceCapabilities, Task, TaskError, TaskHandle, TaskStatus, Traffic, TrafficShifter,
        Trigger, WatchStart,
    },
};

mock! {
    #[derive(Debug)]
    pub Deployer {}

    #[async_trait]
    impl Deployer for Deployer {
        fn capabilities(&self) -> Capabilities;
        async fn observe(&self, service: &ServiceId) -> Result<Observation, ChangeError>;
        async fn apply(
            &self,
            service: &ServiceId,
            request: &ChangeRequest,
        ) -> Result<Accepted, ChangeError>;
        async fn check(&self, service: &ServiceId, release: &Release) -> Result<(), ChangeError>;
        async fn last_words(
            &self,
            service: &ServiceId,
            release: &ReleaseId,
            lines: usize,
        ) -> Vec<String>;
        async fn changed(&self, service: &ServiceId);
    }
}

mock! {
    #[derive(Debug)]
    pub TrafficShifter {
        pub fn answer_traffic(&self, service: &ServiceId) -> Result<Traffic, ChangeError>;
        pub fn answer_shift(
            &self,
            service: &ServiceId,
            id: &ChangeId,
            weights: &BTreeMap<ReleaseId, Weight>,
            expect: Option<Etag>,
        ) -> Result<Accepted, ChangeError>;
        pub fn answer_instances(
            &self,
            service: &ServiceId,
            instances: &BTreeMap<ReleaseId, Vec<Instance>>,
        ) -> Result<(), ChangeError>;
    }
}

/// By hand: `mockall` cannot mock an async method with an optional reference.
#[async_trait]
impl TrafficShifter for MockTrafficShifter {
    async fn traffic(&self, service: &ServiceId) -> Result<Traffic, ChangeError> {
        self.answer_traffic(service)
    }

    async fn shift(
        &self,
        service: &ServiceId,
        id: &ChangeId,
        weights: &BTreeMap<ReleaseId, Weight>,
        expect: Option<&Etag>,
    ) -> Result<Accepted, ChangeError> {
        self.answer_shift(service, id, weights, expect.cloned())
    }

    async fn instances(
        &self,
        service: &ServiceId,
        instances: &BTreeMap<ReleaseId, Vec<Instance>>,
    ) -> Result<(), ChangeError> {
        self.answer_instances(service, instances)
    }
}

mock! {
    #[derive(Debug)]
    pub MetricSource {}

    #[async_trait]
    impl MetricSource for MetricSource {
        fn capabilities(&self) -> SourceCapabilities;
        async fn read(&self, requests: &[ReadRequest]) -> Vec<Result<Reading, ReadError>>;
    }
}

mock! {
    #[derive(Debug)]
    pub Notifier {}

    #[async_trait]
    impl Notifier for Notifier {
        fn channel(&self) -> ChannelId;
        async fn send(&self, key: &NoticeKey, notice: &Notice) -> Result<Delivered, NotifyError>;
    }
}

mock! {
    #[derive(Debug)]
    pub Journal {}

    #[async_trait]
    impl Journal for Journal {
        async fn acquire(
            &self,
            service: &ServiceId,
            owner: &str,
            ttl: Duration,
        ) -> Result<Lease, JournalError>;
        async fn append(
            &self,
            batches: Vec<Batch>,
            durability: Durability,
        ) -> Vec<Result<Seq, JournalError>>;
        async fn read(
            &self,
            service: &ServiceId,
            after: Seq,
            limit: usize,
        ) -> Result<Vec<Entry>, JournalError>;
        async fn services(&self) -> Result<Vec<ServiceId>, JournalError>;
    }
}

mock! {
    #[derive(Debug)]
    pub ReleaseStore {}

    #[async_trait]
    impl ReleaseStore for ReleaseStore {
        async fn put(
            &self,
            service: &ServiceId,
            release: &Release,
        ) -> Result<(), ReleaseStoreError>;
        async fn get(
            &self,
            service: &ServiceId,
            release: &ReleaseId,
        ) -> Result<Option<Release>, ReleaseStoreError>;
    }
}

mock! {
    #[derive(Debug)]
    pub Task {}

    #[async_trait]
    impl Task for Task {
        async fn start(&self, service: &ServiceId, id: &ChangeId) -> Result<TaskHandle, TaskError>;
        async fn find(
            &self,
            service: &ServiceId,
            id: &ChangeId,
        ) -> Result<Option<TaskHandle>, TaskError>;
        async fn status(&self, handle: &TaskHandle) -> Result<TaskStatus, TaskError>;
        async fn cancel(&self, handle: &TaskHandle) -> Result<(), TaskError>;
    }
}

mock! {
    #[derive(Debug)]
    pub Trigger {}

    impl Trigger for Trigger {
        fn id(&self) -> TriggerId;
        fn reads(&self) -> Vec<MetricNeed>;
        fn begin(&self, watch: &WatchStart) -> Box<dyn Evidence>;
    }
}

mock! {
    #[derive(Debug)]
    pub Evidence {}

    impl Evidence for Evidence {
        fn observe(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, reading: &Reading);
        fn unreadable(
            &mut self,
            at: Timestamp,
            metric: &MetricId,
            scope: &Scope,
            error: &ReadError,
        );
        fn verdict(&self, at: Timestamp) -> Verdict;
        fn next_wake(&self, at: Timestamp) -> Option<Timestamp>;
        fn explain(&self, at: Timestamp) -> Explanation;
    }
}
