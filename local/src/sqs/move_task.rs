//! Tasks that move the messages of a dead-letter queue back, or elsewhere.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html>

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::attributes::name_in_arn;
use super::error::{invalid, invalid_value, missing, refuse};
use super::store::{MoveTask, Store};
use crate::aws_json::Refusal;

/// Messages that a task without a rate moves in one transaction.
const STEP: usize = 100;

/// The body of a call that is about move tasks.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Request {
    source_arn: String,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<u32>,
    max_results: Option<usize>,
    task_handle: String,
}

const RUNNING: &str = "RUNNING";

impl Store {
    /// Starts a task, which `step` then carries out. Returns its handle.
    pub(super) fn start_task(&mut self, request: &Request, now: i64) -> Result<String, Refusal> {
        let source = self.named(&request.source_arn, "SourceArn")?;
        if self.sources_of(&source).next().is_none() {
            let message = "Source queue must be configured as a Dead Letter Queue.";
            return Err(invalid(message));
        }
        if let Some(arn) = &request.destination_arn {
            let destination = self.named(arn, "DestinationArn")?;
            let fifo = |name| self.queue(name).map(|it| it.attributes.is_fifo());
            if destination == source || fifo(&destination)? != fifo(&source)? {
                let reason = "It must be another queue of the same type as the source.";
                return Err(invalid_value(arn, "DestinationArn", reason));
            }
        }
        let rate = request.max_number_of_messages_per_second;
        if let Some(rate) = rate.filter(|rate| !(1..=500).contains(rate)) {
            let reason = "Must be between 1 and 500, if provided.";
            return Err(invalid_value(rate, "MaxNumberOfMessagesPerSecond", reason));
        }
        let runs = |it: &MoveTask| it.status == RUNNING && it.source_arn == request.source_arn;
        if self.tasks.iter().any(runs) {
            return Err(invalid(
                "There is already a task running. Only one active task is allowed for a source \
                 queue arn at a given time.",
            ));
        }
        let handle = Uuid::new_v4().to_string();
        let task = MoveTask {
            task_handle: Some(handle.clone()),
            status: RUNNING,
            source_arn: request.source_arn.clone(),
            destination_arn: request.destination_arn.clone(),
            max_number_of_messages_per_second: rate,
            approximate_number_of_messages_moved: 0,
            approximate_number_of_messages_to_move: self.depth(&source, now)?.visible,
            failure_reason: None,
            started_timestamp: now,
        };
        self.tasks.push(task);
        Ok(handle)
    }

    /// Moves some messages. Returns how long to wait before the next step, if the task goes on.
    pub(super) fn step(&mut self, handle: &str, now: i64) -> Option<Duration> {
        let running = |it: &&MoveTask| it.status == RUNNING && it.has(handle);
        let task = self.tasks.iter().find(running)?.clone();
        let name = |arn: &str| name_in_arn(arn).unwrap_or_default().to_owned();
        let from = name(&task.source_arn);
        let to = task.destination_arn.as_deref().map(name);
        let left = task.approximate_number_of_messages_to_move
            - task.approximate_number_of_messages_moved as u64;
        let rate = task.max_number_of_messages_per_second;
        let most = if rate.is_some() { 1 } else { STEP };
        let most = usize::try_from(left).map_or(most, |left| most.min(left));
        let moved = self.transaction(|store| store.redrive(&from, to.as_deref(), most, now));
        let task = self.tasks.iter_mut().find(|it| it.has(handle))?;
        match moved {
            Ok(0) => task.status = "COMPLETED",
            Ok(moved) => task.approximate_number_of_messages_moved += moved,
            Err(refusal) => {
                task.status = "FAILED";
                task.failure_reason = refusal.query_error;
            }
        }
        let pause = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
        (task.status == RUNNING).then_some(pause)
    }

    pub(super) fn list_tasks(&self, request: &Request) -> Result<Value, Refusal> {
        self.named(&request.source_arn, "SourceArn")?;
        let most = request.max_results.unwrap_or(1);
        if !(1..=10).contains(&most) {
            let reason = "Must be between 1 and 10, if provided.";
            return Err(invalid_value(most, "MaxResults", reason));
        }
        let newest = self.tasks.iter().rev();
        let listed = newest.filter(|it| it.source_arn == request.source_arn);
        let listed = listed.take(most).map(|task| {
            let handle = task.task_handle.clone().filter(|_| task.status == RUNNING);
            let task = task.clone();
            MoveTask {
                task_handle: handle,
                ..task
            }
        });
        Ok(json!({"Results": listed.collect::<Vec<_>>()}))
    }

    pub(super) fn cancel_task(&mut self, request: &Request) -> Result<Value, Refusal> {
        if request.task_handle.is_empty() {
            return Err(missing("TaskHandle"));
        }
        if Uuid::parse_str(&request.task_handle).is_err() {
            return Err(invalid("Value for parameter TaskHandle is invalid."));
        }
        let mut tasks = self.tasks.iter_mut();
        let task = tasks.find(|it| it.has(&request.task_handle));
        let no_task = || refuse("ResourceNotFoundException", "Task does not exist.");
        let task = task.ok_or_else(no_task)?;
        if task.status != RUNNING {
            let message = "Only a task that is RUNNING can be cancelled.";
            return Err(refuse("UnsupportedOperation", message));
        }
        task.status = "CANCELLED";
        Ok(json!({"ApproximateNumberOfMessagesMoved": task.approximate_number_of_messages_moved}))
    }

    /// The name of the queue of an ARN, which must exist.
    fn named(&self, arn: &str, parameter: &str) -> Result<String, Refusal> {
        if arn.is_empty() {
            return Err(missing(parameter));
        }
        let name = name_in_arn(arn).filter(|name| self.queues.contains_key(*name));
        let message =
            format!("The resource that you specified for the {parameter} parameter doesn't exist.");
        let no_queue = || refuse("ResourceNotFoundException", message);
        Ok(name.ok_or_else(no_queue)?.to_owned())
    }

    /// The queues whose dead letters go to this one.
    pub(super) fn sources_of(&self, name: &str) -> impl Iterator<Item = &String> {
        self.queues.iter().filter_map(move |(source, queue)| {
            let target = queue.attributes.redrive()?.target;
            (target == name).then_some(source)
        })
    }
}

impl MoveTask {
    fn has(&self, handle: &str) -> bool {
        self.task_handle.as_deref() == Some(handle)
    }
}
