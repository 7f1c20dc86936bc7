//! What follows from an answer, and what is asked next.

use super::plan::{self, HEAD, MAX_OBJECT, SINGLE_MAX};
use super::trouble::{Refusal, Trouble};
use super::{
    ASK_AFTER, Action, Answer, Job, LOOKS, NAMES_TRIED, Object, PARTS_AT_ONCE, Phase, Piece, Request, RequestId, Stand, Step,
    Upload,
};
use crate::time::SessionTime;

impl Upload {
    /// Goes as far as is possible without an answer.
    pub(super) fn drive(&mut self, now: SessionTime) {
        if self.abandon && !self.control_asked() && !self.parts.iter().any(|(_, job)| job.is_asked()) {
            self.take_back(now);
        }
        match (&self.phase, self.record.ended) {
            (Phase::Waiting, Some(len)) if len <= SINGLE_MAX => {
                self.record.step = Step::Putting;
                self.begin_phase(Phase::Putting, now);
            }
            (Phase::Waiting, _) if self.grown > SINGLE_MAX => {
                self.record.step = Step::Creating;
                self.begin_phase(Phase::Creating, now);
            }
            _ => {}
        }
        if self.phase == Phase::Sending {
            self.send_parts(now);
        }
        if self.has_control() && self.control.is_due(now) {
            self.ask_control(now);
        }
        let status = self.status();
        if self.told.as_ref() != Some(&status) {
            self.told = Some(status.clone());
            self.actions.push_back(Action::Tell(status));
        }
    }

    pub(super) fn answered(&mut self, id: RequestId, answer: Result<Answer, Trouble>, now: SessionTime) {
        if let Some(index) = self.parts.iter().position(|(_, job)| job.stand == Stand::Asked(id)) {
            self.part_answered(index, answer, now);
        } else if self.control.stand == Stand::Asked(id) {
            self.control.stand = Stand::NotBefore(now);
            match answer {
                Ok(answer) => self.control_done(answer, now),
                Err(trouble) => self.control_failed(trouble, now),
            }
        }
    }

    fn control_asked(&self) -> bool {
        self.has_control() && self.control.is_asked()
    }

    /// To another phase, after a step forward.
    fn enter(&mut self, phase: Phase, now: SessionTime) {
        self.failures = 0;
        self.turn_to(phase, now);
    }

    /// To another phase that leaves a trace.
    fn begin_phase(&mut self, phase: Phase, now: SessionTime) {
        self.save();
        self.enter(phase, now);
    }

    /// To another phase, to find out what became of the one before.
    fn turn_to(&mut self, phase: Phase, not_before: SessionTime) {
        let trouble = self.control.trouble.take().filter(|_| self.failures > 0);
        self.phase = phase;
        self.control = Job { trouble, ..Job::at(not_before) };
    }

    fn send_parts(&mut self, now: SessionTime) {
        while self.parts.len() < PARTS_AT_ONCE
            && !self.abandon
            && let Some(piece) = self.next_piece()
        {
            self.parts.push((piece, Job::at(now)));
        }
        for index in 0..self.parts.len() {
            if self.parts[index].1.is_due(now)
                && let Some(upload_id) = self.record.upload_id().map(str::to_owned)
            {
                let request = Request::SendPart { key: self.record.key.clone(), upload_id, piece: self.parts[index].0 };
                let id = self.ask(request);
                self.parts[index].1.stand = Stand::Asked(id);
            }
        }
        if let Some(upload_id) = self.record.upload_id()
            && self.parts.is_empty()
            && self.record.ended.is_some_and(|len| plan::pieces(len).all(|piece| self.is_sent(piece)))
        {
            self.record.step = Step::Completing { upload_id: upload_id.to_owned() };
            self.save();
            let pause = self.control.trouble.as_ref().filter(|_| self.failures > 0);
            let pause = pause.map(|trouble| self.pace.pause(trouble, self.failures)).unwrap_or_default();
            self.turn_to(Phase::Completing, now + pause);
        }
    }

    /// The next part that can be sent: the head last, once the file is ended.
    fn next_piece(&self) -> Option<Piece> {
        let free = |piece: &Piece| !self.is_sent(*piece) && !self.parts.iter().any(|(sent, _)| sent.number == piece.number);
        match self.record.ended {
            Some(len) => plan::pieces(len).skip(1).find(free).or_else(|| plan::piece_of(len, HEAD).filter(free)),
            None => {
                // Those before the newest are there, or on their way.
                let mut numbers = HEAD + 1..=plan::MAX_PARTS;
                numbers.find_map(|number| plan::full_piece(number).filter(free)).filter(|piece| piece.end() <= self.grown)
            }
        }
    }

    fn is_sent(&self, piece: Piece) -> bool {
        self.record.parts.get(&piece.number).is_some_and(|part| part.len == piece.len)
    }

    fn part_answered(&mut self, index: usize, answer: Result<Answer, Trouble>, now: SessionTime) {
        match answer {
            Ok(Answer::Sent(part)) => {
                let (piece, _) = self.parts.remove(index);
                self.record.parts.insert(piece.number, part);
                self.save();
            }
            Ok(_) => self.parts[index].1.stand = Stand::NotBefore(now),
            Err(Trouble::NoSuchUpload) => self.start_over(Trouble::NoSuchUpload, now),
            Err(trouble) => {
                let job = &mut self.parts[index].1;
                let pause = self.pace.pause(&trouble, job.attempts + 1);
                job.failed(trouble, pause, now);
                // A storage that refuses a part early may break the connection before its reason is read: it is asked without data.
                if job.attempts.is_multiple_of(ASK_AFTER) && self.phase == Phase::Sending {
                    self.turn_to(Phase::ListingParts, now);
                }
            }
        }
    }

    fn ask(&mut self, request: Request) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.actions.push_back(Action::Ask { id, request });
        id
    }

    fn ask_control(&mut self, now: SessionTime) {
        let key = self.record.key.clone();
        let identity = self.record.identity.clone();
        let upload_id = self.record.upload_id().unwrap_or_default().to_owned();
        let request = match &self.phase {
            Phase::FindingStrangers | Phase::FindingLost | Phase::Sweeping => Request::FindUploads { key },
            Phase::Claiming { .. } | Phase::Deciding { .. } | Phase::Confirming => Request::Look { key },
            Phase::Creating | Phase::Putting if self.record.ended.is_some_and(|len| len > MAX_OBJECT) => {
                return self.try_again(Trouble::Refused(Refusal::TooLarge), now);
            }
            Phase::Creating => Request::Create { key, identity },
            Phase::AbortingLost { left, .. } => match left.last() {
                Some(lost) => Request::Abort { key, upload_id: lost.clone() },
                None => return,
            },
            Phase::ListingParts => Request::ListParts { key, upload_id },
            Phase::Completing => {
                let parts = self.record.parts.iter().map(|(&number, part)| (number, part.etag.clone())).collect();
                Request::Complete { key, upload_id, parts }
            }
            Phase::Putting => Request::Put { key, identity, len: self.grown },
            Phase::Abandoning => Request::Abort { key, upload_id },
            Phase::Waiting | Phase::Sending | Phase::Stored | Phase::Abandoned => return,
        };
        self.control.stand = Stand::Asked(self.ask(request));
    }

    fn control_done(&mut self, answer: Answer, now: SessionTime) {
        match (self.phase.clone(), answer) {
            (Phase::Claiming { tried }, Answer::Object(Some(_))) if tried >= NAMES_TRIED => {
                self.try_again(Trouble::Refused(Refusal::NoFreeName), now);
            }
            (Phase::Claiming { tried }, Answer::Object(Some(_))) => {
                self.record.key = with_stem_ending(&self.record.ordered_key, &format!("-{}", tried + 1));
                self.enter(Phase::Claiming { tried: tried + 1 }, now);
            }
            (Phase::Claiming { .. }, Answer::Object(None)) => self.enter(Phase::FindingStrangers, now),
            (Phase::FindingStrangers, Answer::Uploads(strangers)) => {
                self.record.strangers = strangers;
                self.begin_phase(Phase::Waiting, now);
            }
            (Phase::Creating, Answer::Created(upload_id)) => {
                self.record.step = Step::Sending { upload_id };
                self.begin_phase(Phase::Sending, now);
            }
            (Phase::FindingLost, Answer::Uploads(found)) => self.abort_lost(found, false, now),
            (Phase::Sweeping, Answer::Uploads(found)) => self.abort_lost(found, true, now),
            (Phase::AbortingLost { left, stored }, Answer::Done) => self.lost_aborted(left, stored, now),
            (Phase::ListingParts, Answer::Parts(found)) => {
                self.record.parts.retain(|number, part| {
                    found.iter().any(|(there, etag, len)| there == number && *etag == part.etag && *len == part.len)
                });
                self.turn_to_sending(now);
            }
            (Phase::Completing, Answer::Done) => self.enter(Phase::Confirming, now),
            (Phase::Putting, Answer::Sent(whole)) => {
                self.record.parts = [(HEAD, whole)].into();
                self.enter(Phase::Confirming, now);
            }
            (Phase::Confirming, Answer::Object(object)) => match object {
                Some(object) if self.is_ours(&object) => self.stored(now),
                _ if self.failures + 1 < LOOKS => self.try_again(Trouble::NotAsSent, now),
                _ => self.start_over(Trouble::NotAsSent, now),
            },
            (Phase::Deciding { gone }, Answer::Object(object)) => match object {
                Some(object) if self.is_ours(&object) => self.stored(now),
                _ if !gone => self.turn_to(Phase::ListingParts, now),
                _ if self.failures < LOOKS => self.try_again(Trouble::NoSuchUpload, now),
                _ => self.start_over(Trouble::NoSuchUpload, now),
            },
            (Phase::Abandoning, Answer::Done) => self.abandoned(now),
            // An answer to something else, which no adapter gives.
            (_, _) => self.try_again(Trouble::Unavailable, now),
        }
    }

    fn control_failed(&mut self, trouble: Trouble, now: SessionTime) {
        use Refusal::{AccessDenied, Other};
        let may_not = matches!(trouble, Trouble::Refused(AccessDenied | Other(_)));
        match (self.phase.clone(), &trouble) {
            // A key may be allowed to write, and not to look for what is there.
            (Phase::Claiming { .. }, _) if may_not => self.enter(Phase::FindingStrangers, now),
            (Phase::FindingStrangers, _) if may_not => self.begin_phase(Phase::Waiting, now),
            (Phase::FindingLost, _) if may_not => self.create_again(now),
            (Phase::Sweeping, _) if may_not => self.swept(now),
            (Phase::ListingParts, _) if may_not => self.turn_to_sending(now),
            (Phase::AbortingLost { left, stored }, _) if may_not || trouble == Trouble::NoSuchUpload => {
                self.lost_aborted(left, stored, now);
            }
            (Phase::Abandoning, Trouble::NoSuchUpload) => self.abandoned(now),
            (Phase::Creating, _) if !trouble.is_not_done() => {
                self.record.doubt = true;
                self.save();
                self.turn_after(Phase::FindingLost, trouble, now);
            }
            (Phase::ListingParts, Trouble::NoSuchUpload) if matches!(self.record.step, Step::Completing { .. }) => {
                self.turn_after(Phase::Deciding { gone: true }, trouble, now);
            }
            (Phase::ListingParts, Trouble::NoSuchUpload) => self.start_over(trouble, now),
            (Phase::Completing, Trouble::NoSuchUpload) => self.turn_after(Phase::Deciding { gone: true }, trouble, now),
            (Phase::Completing, Trouble::BadParts) if self.failures >= LOOKS => self.start_over(trouble, now),
            (Phase::Completing, Trouble::BadParts) => self.turn_after(Phase::ListingParts, trouble, now),
            (Phase::Completing, _) if !trouble.is_not_done() => self.turn_after(Phase::Deciding { gone: false }, trouble, now),
            _ => self.try_again(trouble, now),
        }
    }

    /// The request of this phase is asked again, later.
    fn try_again(&mut self, trouble: Trouble, now: SessionTime) {
        self.failures = self.failures.saturating_add(1);
        let pause = self.pace.pause(&trouble, self.failures);
        self.control.failed(trouble, pause, now);
    }

    /// Another question comes first, after a pause.
    fn turn_after(&mut self, phase: Phase, trouble: Trouble, now: SessionTime) {
        self.try_again(trouble, now);
        if let Stand::NotBefore(time) = self.control.stand {
            self.turn_to(phase, time);
        }
    }

    /// Creates anew what the storage has lost, or shows wrongly.
    fn start_over(&mut self, trouble: Trouble, now: SessionTime) {
        self.parts.clear();
        self.record.parts.clear();
        self.record.step = Step::Creating;
        // So that what is left of the old one is found and taken back.
        self.record.doubt = true;
        self.save();
        self.anew = self.anew.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        self.control.trouble = Some(trouble);
        self.turn_to(Phase::FindingLost, now + self.pace.pause_anew(self.anew));
    }

    fn create_again(&mut self, now: SessionTime) {
        match self.record.ended {
            None if self.abandon => self.abandoned(now),
            Some(len) if len <= SINGLE_MAX => {
                self.record.step = Step::Putting;
                self.save();
                self.turn_to(Phase::Putting, now);
            }
            _ => self.turn_to(Phase::Creating, now),
        }
    }

    fn abort_lost(&mut self, mut left: Vec<String>, stored: bool, now: SessionTime) {
        left.retain(|upload_id| !self.record.strangers.contains(upload_id));
        match (left.is_empty(), stored) {
            (false, _) => self.turn_to(Phase::AbortingLost { left, stored }, now),
            (true, true) => self.swept(now),
            (true, false) => self.create_again(now),
        }
    }

    fn lost_aborted(&mut self, mut left: Vec<String>, stored: bool, now: SessionTime) {
        left.pop();
        self.abort_lost(left, stored, now);
    }

    fn turn_to_sending(&mut self, now: SessionTime) {
        if let Some(upload_id) = self.record.upload_id() {
            self.record.step = Step::Sending { upload_id: upload_id.to_owned() };
        }
        self.turn_to(Phase::Sending, now);
    }

    fn stored(&mut self, now: SessionTime) {
        self.record.step = Step::Stored;
        self.begin_phase(if self.record.doubt { Phase::Sweeping } else { Phase::Stored }, now);
    }

    fn swept(&mut self, now: SessionTime) {
        self.record.doubt = false;
        self.begin_phase(Phase::Stored, now);
    }

    /// The file will never be whole. Nothing is on its way.
    fn take_back(&mut self, now: SessionTime) {
        match (&self.phase, self.record.upload_id().map(str::to_owned)) {
            (Phase::Abandoning | Phase::Stored | Phase::Abandoned, _) => {}
            (_, Some(upload_id)) => {
                self.parts.clear();
                self.record.step = Step::Abandoning { upload_id };
                self.begin_phase(Phase::Abandoning, now);
            }
            // It is not known what there is to take back.
            (Phase::FindingLost | Phase::AbortingLost { .. }, None) => {}
            (Phase::Creating, None) if self.record.doubt && self.failures > 0 => {
                self.turn_to(Phase::FindingLost, now);
            }
            (_, None) => self.abandoned(now),
        }
    }

    fn abandoned(&mut self, now: SessionTime) {
        self.record.step = Step::Abandoned;
        self.begin_phase(Phase::Abandoned, now);
    }

    /// Length, identity and sum are right, as far as the storage tells them.
    fn is_ours(&self, object: &Object) -> bool {
        let sum = self.record.expected_etag();
        let sum_is_right = sum.is_some() && sum == object.etag;
        let is_ours = match &object.identity {
            Some(identity) => *identity == self.record.identity && (sum_is_right || sum.is_none()),
            // A storage that keeps no identities.
            None => sum_is_right,
        };
        is_ours && self.record.ended == Some(object.len)
    }
}

/// `key` with `ending` put between its stem and its extension: `a/standup.mp4` → `a/standup-2.mp4`.
pub fn with_stem_ending(key: &str, ending: &str) -> String {
    let name_at = key.rfind('/').map_or(0, |slash| slash + 1);
    match key[name_at..].rfind('.').filter(|&dot| dot > 0) {
        Some(dot) => format!("{}{ending}{}", &key[..name_at + dot], &key[name_at + dot..]),
        None => format!("{key}{ending}"),
    }
}
