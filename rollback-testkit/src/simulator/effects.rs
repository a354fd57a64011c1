//! What the controllers' effects do to the world, and what comes back: well or badly.

use std::{sync::Arc, time::Duration};

use rollback_core::{
    entry::{ChangeReport, Effect, Input},
    model::{Accepted, ChangeError, ChangeRequest, Timestamp},
    ports::{Delivered, NotifyError, PermitDecision},
};

use super::{
    invariants::What,
    tasks::TaskCall,
    world::{Event, World},
};

impl World<'_> {
    pub(super) fn fault(&mut self, in_thousand: u64, name: &'static str) -> bool {
        let hit = self.faults > 0 && self.random.chance(in_thousand * self.faults);
        if hit {
            self.coverage.fault(name);
        }
        hit
    }

    pub(super) fn latency(&mut self) -> Duration {
        if self.fault(15, "late") {
            return self.random.millis(1_000, 30_000);
        }
        self.random.millis(5, 120)
    }

    pub(super) fn execute(&mut self, id: u32, effect: Effect) {
        match effect {
            Effect::Apply(request) => self.send(id, *request),
            Effect::Observe { asked_at } => {
                if self.fault(10, "look_lost") {
                    return;
                }
                let travels = self.latency();
                if self.fault(20, "look_failed") {
                    let result = Err(ChangeError::not_sent("connection refused"));
                    self.deliver(id, travels, Input::Observed { asked_at, result });
                    return;
                }
                let twice = self.fault(10, "look_doubled");
                let there = self.random.millis(1, 50);
                let event = Event::Look {
                    to: id,
                    asked_at,
                    travels,
                    twice,
                };
                self.after(there, event);
            }
            Effect::Read(reads) => {
                if self.fault(10, "read_lost") {
                    return;
                }
                let twice = self.fault(10, "read_doubled");
                let (there, travels) = (self.random.millis(1, 50), self.latency());
                let event = Event::Read {
                    to: id,
                    requests: reads.requests,
                    travels,
                    twice,
                };
                self.after(there, event);
            }
            Effect::Check { release } => {
                if self.fault(20, "check_lost") {
                    return;
                }
                let result = if self.fault(40, "check_failed") {
                    Err(ChangeError::not_sent("connection refused"))
                } else {
                    self.model.check(&self.scenario.service, &release)
                };
                let travels = self.latency();
                self.deliver(id, travels, Input::Checked { release, result });
            }
            Effect::StartTask {
                id: attempt,
                task,
                not_after,
            } => self.start_task(id, attempt, task, not_after),
            Effect::AskTask {
                id: attempt, task, ..
            } => self.ask_task(id, attempt, task, TaskCall::Ask),
            Effect::CancelTask {
                id: attempt, task, ..
            } => self.ask_task(id, attempt, task, TaskCall::Cancel),
            Effect::RequestPermit(request) => {
                if self.fault(40, "permit_lost") {
                    return;
                }
                let decision = if self.fault(60, "permit_denied") {
                    PermitDecision::Denied {
                        why: Arc::from("too many services roll back at once"),
                    }
                } else {
                    PermitDecision::Granted
                };
                let travels = self.latency();
                let input = Input::Permit {
                    deployment: request.deployment,
                    attempt: request.attempt,
                    decision,
                };
                if self.fault(20, "permit_doubled") {
                    self.deliver(id, travels * 2, input.clone());
                }
                self.deliver(id, travels, input);
            }
            Effect::CollectLastWords { release, .. } => {
                if self.fault(40, "words_lost") {
                    return;
                }
                let lines = vec![format!("{release}: fatal")];
                let travels = self.latency();
                self.deliver(id, travels, Input::LastWords { release, lines });
            }
            Effect::Notify { key, notice } => {
                let epoch = self.controller(id).map(|c| c.epoch).unwrap_or_default();
                self.check(
                    None,
                    What::Notify {
                        epoch,
                        key: &key,
                        notice: &notice,
                    },
                );
                self.known.notices.insert(key.clone(), notice);
                if self.fault(20, "notice_lost") {
                    return;
                }
                let result = if self.fault(40, "notice_failed") {
                    Err(NotifyError::Temporary {
                        why: "timed out".to_owned(),
                        retry_after_ms: None,
                    })
                } else if self.fault(5, "notice_refused") {
                    Err(NotifyError::Permanent {
                        why: "no such channel".to_owned(),
                    })
                } else {
                    Ok(Delivered::default())
                };
                let travels = self.latency();
                self.deliver(id, travels, Input::Notified { key, result });
            }
            _ => {}
        }
    }

    pub(super) fn send(&mut self, id: u32, request: ChangeRequest) {
        let now = self.now;
        let Some(controller) = self.controller(id) else {
            return;
        };
        let (epoch, offset) = (controller.epoch, controller.offset);
        let at = Timestamp::from_millis(now.as_millis() + offset);
        let late = at > request.not_after;
        self.check(
            None,
            What::Send {
                request: &request,
                epoch,
                at,
                late,
            },
        );
        if let Some(intent) = self.known.intents.get_mut(&request.id) {
            intent.sent += 1;
        }
        let travels = self.latency();
        let report = |result| {
            let id = request.id.clone();
            Input::Reported(ChangeReport { id, result })
        };
        if late {
            self.coverage.fault("too_late_to_send");
            let late = report(Err(ChangeError::not_sent("too late")));
            return self.deliver(id, travels, late);
        }
        if self.fault(20, "not_sent") {
            let error = ChangeError::NotSent {
                why: "connection refused".to_owned(),
                retry_after_ms: self.random.chance(500).then_some(1_500),
            };
            return self.deliver(id, travels, report(Err(error)));
        }
        if self.fault(4, "refused") {
            let refused = report(Err(ChangeError::refused("quota exceeded")));
            return self.deliver(id, travels, refused);
        }
        if self.fault(20, "request_lost") {
            if self.random.chance(600) {
                let lost = report(Err(ChangeError::maybe_sent("timed out")));
                self.deliver(id, travels, lost);
            }
            return;
        }
        // A request that is under way for longer than the driver waits has been given up.
        let there = if self.fault(20, "landed_late") {
            self.random.millis(500, 9_000)
        } else {
            self.random.millis(2, 60)
        };
        if self.fault(15, "landed_twice") {
            let event = Event::Land {
                request: Box::new(request.clone()),
                answer: None,
            };
            self.after(there + Duration::from_millis(30), event);
        }
        let answer = if self.fault(20, "answer_lost") {
            self.random.chance(600).then_some((id, travels, true))
        } else {
            Some((id, travels, false))
        };
        if let Some((to, travels, lost)) = answer
            && self.fault(15, "report_doubled")
        {
            let again = Input::Reported(ChangeReport {
                id: request.id.clone(),
                result: if lost {
                    Err(ChangeError::maybe_sent("no answer"))
                } else {
                    Ok(Accepted::default())
                },
            });
            let late = there + travels + self.random.millis(1, 20_000);
            self.deliver(to, late, again);
        }
        let request = Box::new(request);
        self.after(there, Event::Land { request, answer });
    }
}
