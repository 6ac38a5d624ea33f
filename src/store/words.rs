//! Pieces of statements that both databases understand word for word.

/// The rank of a message's status, as [`crate::domain::status::MessageStatus::rank`] has it.
macro_rules! rank {
    ($status:literal) => {
        concat!(
            "(CASE ", $status, " WHEN 'accepted' THEN 0 WHEN 'scheduled' THEN 0 WHEN 'held' THEN 0 WHEN 'sending' THEN 1 ",
            "WHEN 'unknown' THEN 2 WHEN 'sent' THEN 3 WHEN 'failed' THEN 4 WHEN 'delivered' THEN 5 WHEN 'read' THEN 6 END)"
        )
    };
}

/// The rank of an attempt's status, as [`crate::domain::status::AttemptStatus`] orders them.
macro_rules! attempt_rank {
    ($status:literal) => {
        concat!(
            "(CASE ",
            $status,
            " WHEN 'sending' THEN 0 WHEN 'unknown' THEN 1 WHEN 'sent' THEN 2 WHEN 'failed' THEN 3 ",
            "WHEN 'undelivered' THEN 4 WHEN 'delivered' THEN 5 WHEN 'read' THEN 6 END)"
        )
    };
}

/// Whether the attempt's status rises by the result, or the result was found to say more than what stands there, the
/// attempt being locked.
macro_rules! attempt_rises {
    () => {
        concat!("(", attempt_rank!("i.attempt_status"), " > ", attempt_rank!("a.status"), " OR i.outweighs)")
    };
}

/// Whether what was held until an instant is free: that is past, or so far ahead that it was noted before the clock was
/// set back. Nothing of this kind is held for a quarter of an hour.
macro_rules! is_free {
    ($until:literal) => {
        concat!("(", $until, " IS NULL OR ", $until, " < now() OR ", $until, " > now() + 900000000 * {us})")
    };
}

/// No slot of a key with that interval lies further ahead, whatever a text takes: a time of arrival that does was noted
/// before the clock was set back.
macro_rules! furthest {
    ($each:literal) => {
        concat!("now() + (1000000 + 100 * ", $each, ") * {us}")
    };
}

/// What was handed out of the key `g` in this second and in the one before, and which second this is. Who has waited for the
/// row, or whose clock was set back, forgets nothing of what others took meanwhile, and a second never goes back by itself.
macro_rules! handed_out {
    () => {
        "CASE WHEN g.second >= {second} THEN g.in_second ELSE 0 END AS in_second, \
         CASE WHEN g.second >= {second} THEN g.in_previous WHEN g.second = {second} - 1 THEN g.in_second ELSE 0 END AS in_previous, \
         CASE WHEN g.second = {second} + 1 THEN g.second ELSE {second} END AS second"
    };
}

/// Why a job is taken back before it comes, if it is: it or its matter has a tombstone, or the campaign that made it was
/// cancelled (a job that only bears a campaign's name is its caller's). What a person sends once more is bound by what was
/// said after `$since` alone.
macro_rules! taken_back {
    ($row:literal, $since:expr) => {
        concat!(
            "COALESCE(",
            buried!($row, "job", ".job_id", $since),
            ", ",
            buried!($row, "about", ".about", $since),
            ", (CASE WHEN ",
            by_campaign!($row),
            " THEN (SELECT 'cancelled' FROM campaigns c WHERE c.id = ",
            $row,
            ".campaign_id AND c.source = ",
            $row,
            ".source AND c.state = 'cancelled' AND (",
            $row,
            ".retry_of IS NULL OR c.changed_at > ",
            $since,
            ")) END))"
        )
    };
}

/// Why nothing more of a message leaves, if so: it is taken back, or a person has sent it once more meanwhile.
macro_rules! withdrawn {
    ($row:literal) => {
        concat!(
            "COALESCE(",
            taken_back!($row, concat!($row, ".accepted_at")),
            ", (CASE WHEN ",
            $row,
            ".status NOT IN ('accepted', 'scheduled', 'held') THEN (SELECT 'superseded' FROM messages r WHERE r.retry_of = ",
            $row,
            ".id AND r.retry_of IS NOT NULL LIMIT 1) END))"
        )
    };
}

/// Whether a campaign made the job, as [`crate::domain::ids::JobId::is_of_campaign`] has it: one that only bears a
/// campaign's name is its caller's.
macro_rules! by_campaign {
    ($row:literal) => {
        concat!("substr(", $row, ".job_id, 1, 9) = 'campaign:'")
    };
}

/// Whether the guard against surges may hold the row, as [`crate::store::holds`] has it.
macro_rules! is_guarded {
    ($row:literal) => {
        concat!(
            "(",
            $row,
            ".priority > 0 AND ",
            $row,
            ".purpose <> 'emergency' AND NOT (",
            $row,
            ".campaign_id IS NOT NULL AND ",
            by_campaign!($row),
            "))"
        )
    };
}

/// A tombstone that is there already keeps its reason, and is not shortened.
macro_rules! buried_again {
    () => {
        " ON CONFLICT (source, kind, name) DO UPDATE SET buried_at = excluded.buried_at, \
         until = CASE WHEN tombstones.until > excluded.until THEN tombstones.until ELSE excluded.until END"
    };
}

/// The reason of the tombstone of this kind and name.
macro_rules! buried {
    ($row:literal, $kind:literal, $name:literal, $since:expr) => {
        concat!(
            "(SELECT t.reason FROM tombstones t WHERE t.source = ",
            $row,
            ".source AND t.kind = '",
            $kind,
            "' AND t.name = ",
            $row,
            $name,
            " AND t.until > now() AND (",
            $row,
            ".retry_of IS NULL OR t.buried_at > ",
            $since,
            "))"
        )
    };
}

/// The provider that may have the current step of a message already.
macro_rules! bound_to {
    ($row:literal) => {
        concat!(
            "(CASE WHEN ",
            $row,
            ".status IN ('unknown', 'sent', 'delivered') THEN (SELECT a.provider FROM attempts a WHERE a.message_id = ",
            $row,
            ".id AND a.step = ",
            $row,
            ".step AND a.status = 'unknown' LIMIT 1) END)"
        )
    };
}

/// Whether an earlier step of a message got through, or may have and was not waited for any longer. What was told as
/// delivered may have come back since.
/// One row is looked for, not EXISTS: of that a planner may make a table of all attempts.
macro_rules! reached {
    ($row:literal) => {
        concat!(
            "(CASE WHEN ",
            $row,
            ".status IN ('sent', 'delivered') THEN (SELECT 1 FROM attempts a WHERE a.message_id = ",
            $row,
            ".id AND (a.status IN ('sent', 'delivered', 'read') OR (a.status = 'unknown' AND a.awaits IS NOT NULL)) LIMIT 1) IS NOT NULL ",
            "WHEN ",
            $row,
            ".status = 'unknown' THEN (SELECT 1 FROM attempts a WHERE a.message_id = ",
            $row,
            ".id AND a.status = 'unknown' AND a.awaits IS NOT NULL LIMIT 1) IS NOT NULL ELSE false END)"
        )
    };
}

/// Columns, in the order in which `admit` gives them, and what becomes of a row.
macro_rules! admitted {
    () => {
        concat!(
            "INSERT INTO messages (id, source, job_id, patient_id, template, purpose, priority, about, site, campaign_id, ",
            "correlation_id, test, retry_of, body, accepted_at, changed_at, expires_at, status, reason, due_at, lease_token, ",
            "ack_by) ",
            "SELECT i.id, i.source, i.job_id, i.patient_id, i.template, i.purpose, i.priority, i.about, i.site, i.campaign_id, ",
            "i.correlation_id, i.test, i.retry_of, i.body, now(), now(), i.expires_at, ",
            "CASE WHEN i.gone IS NOT NULL THEN 'cancelled' WHEN i.due_at > now() THEN 'scheduled' ELSE 'accepted' END, i.gone, ",
            "CASE WHEN i.gone IS NULL THEN COALESCE(i.due_at, now()) END, ",
            "CASE WHEN i.lease THEN lease.token END, CASE WHEN i.gone IS NULL THEN i.ack_by END "
        )
    };
}

/// What a decision does to a row `m`, from `i`. A move that is not legal leaves the status and moves the rest.
macro_rules! decided {
    () => {
        concat!(
            "status = CASE WHEN ",
            decision_is_legal!(),
            " THEN i.status ELSE m.status END, ",
            "reason = CASE WHEN ",
            has_moved_on!(),
            " THEN m.reason ELSE i.reason END, ",
            "due_at = CASE WHEN ",
            has_moved_on!(),
            " THEN now() ELSE i.due_at END, ",
            "held_by = i.held_by, site = COALESCE(m.site, i.site), ",
            "channel = COALESCE(i.channel, m.channel), explanation = i.explanation, lease_token = NULL, ",
            "changed_at = CASE WHEN ",
            decision_is_told!(),
            " THEN now() ELSE m.changed_at END, ",
            "seq = m.seq + CASE WHEN i.event_key IS NOT NULL AND ",
            decision_is_told!(),
            " THEN 1 ELSE 0 END "
        )
    };
}

macro_rules! decision_is_legal {
    () => {
        concat!(
            "(",
            rank!("m.status"),
            " = 0 OR (",
            rank!("m.status"),
            " = 1 AND ",
            rank!("i.status"),
            " IS NULL) OR ",
            rank!("i.status"),
            " > ",
            rank!("m.status"),
            ")"
        )
    };
}

/// A plan was decided to be over, and something was heard meanwhile: that is decided upon again.
macro_rules! has_moved_on {
    () => {
        "(i.plan_over AND (m.status <> i.status OR i.awaits <> (m.receipt_by IS NOT NULL)))"
    };
}

macro_rules! decision_is_told {
    () => {
        concat!(
            "(CASE WHEN i.plan_over THEN NOT ",
            has_moved_on!(),
            " ELSE (m.status = i.status AND m.reason IS DISTINCT FROM i.reason) OR (m.status <> i.status AND ",
            decision_is_legal!(),
            ") END)"
        )
    };
}

/// Whether the attempt `a` of an earlier step lets `i` be sent: its plan does not wait for what it has come to.
macro_rules! is_waited_for_no_longer {
    () => {
        concat!(
            "(a.step < i.step AND COALESCE((a.awaits = 'answered' AND a.status IN ('unknown', 'sent', 'delivered')) ",
            "OR (a.awaits = 'delivered' AND a.status IN ('unknown', 'sent')), false))"
        )
    };
}

/// Every reason to send `i` still stands for the row `m`, but for holds. The subjects of a snapshot's addresses are a
/// JSON array that each database takes apart in its own words.
macro_rules! may_begin {
    ($others:literal) => {
        concat!(
            "m.lease_token = i.token AND EXISTS (SELECT 1 FROM leases l WHERE l.token = i.token AND l.until - $2 * {us} > now()) ",
            "AND now() < i.valid_until AND (",
            rank!("m.status"), " = 0 OR ((m.status IN ('sending', 'unknown') OR ", goes_on!(), ") AND NOT EXISTS (",
            "SELECT 1 FROM attempts a WHERE a.message_id = m.id AND NOT ", is_waited_for_no_longer!(),
            " AND (a.status IN ('sent', 'delivered', 'read') OR (a.status IN ('sending', 'unknown') ",
            "AND (NOT a.dedupes OR (a.step = i.step AND a.provider <> i.provider))))))) ",
            "AND i.revision = COALESCE((SELECT s.revision FROM patient_state s WHERE s.subject = i.subject), 0) ",
            "+ CASE WHEN i.others IS NULL THEN 0 ELSE COALESCE((SELECT CAST(sum(s.revision) AS bigint) FROM patient_state s ",
            "WHERE s.subject IN (", $others, ")), 0) END AND ", withdrawn!("m"), " IS NULL"
        )
    };
}

/// Nothing more was counted for the person and the address of `i` than what was decided upon; `state` has their rows.
macro_rules! within_caps {
    ($state:literal) => {
        concat!(
            "(i.addressed IS NULL OR (EXISTS (SELECT 1 FROM ", $state, " c WHERE c.subject = i.addressed ",
            "AND c.recent_sends IS NOT DISTINCT FROM i.addressed_before) AND (i.person IS NULL OR EXISTS (SELECT 1 FROM ",
            $state, " c WHERE c.subject = i.person AND c.recent_sends IS NOT DISTINCT FROM i.person_before))))"
        )
    };
}

/// What is counted of the messages `i` that have begun, a row a subject.
macro_rules! counted {
    () => {
        "SELECT i.person AS subject, i.person_after AS recent FROM i WHERE i.person IS NOT NULL
         UNION ALL SELECT i.addressed, i.addressed_after FROM i WHERE i.addressed IS NOT NULL"
    };
}

/// Whether the row `m` may go along with another message: nobody has it in hand, nothing of it was sent, and whatever
/// carried it is known to have failed.
macro_rules! may_join {
    () => {
        concat!(
            "m.claim_at IS NOT NULL AND m.copy_of IS NULL AND m.priority > 0 ",
            "AND (m.status IN ('accepted', 'scheduled', 'held') OR (m.status = 'sending' AND (m.last_attempt IS NULL ",
            "OR (m.merged_into IS NOT NULL AND EXISTS (SELECT 1 FROM attempts a WHERE a.id = m.last_attempt ",
            "AND a.status IN ('failed', 'undelivered'))))))"
        )
    };
}

/// No hold in force covers the row `m` as `i` would send it; one whose scope only a newer program knows covers everything.
/// What the guard against surges leaves alone is said in
/// [`crate::store::rows::Hold::covers`].
macro_rules! not_stopped {
    () => {
        concat!(
            "NOT EXISTS (SELECT 1 FROM stops h WHERE (h.cause <> 'surge_hold' OR ", is_guarded!("m"), ") ",
            "AND (h.cause <> 'awaiting_approval' OR (m.purpose = 'emergency' AND NOT m.test)) AND (h.scope = 'all' OR (h.scope = 'source' AND h.value = m.source) ",
            "OR (h.scope = 'site' AND h.value = COALESCE(m.site, i.site)) OR (h.scope = 'template' AND h.value = m.template) ",
            "OR (h.scope = 'purpose' AND h.value = m.purpose) OR (h.scope = 'channel' AND h.value = i.channel) ",
            "OR (h.scope = 'provider' AND h.value = i.provider) OR (h.scope = 'campaign' AND h.value = m.campaign_id AND ", by_campaign!("m"), ") ",
            "OR h.scope NOT IN ('all', 'source', 'site', 'template', 'purpose', 'channel', 'provider', 'campaign')))"
        )
    };
}

/// What `begin` does to a row `m`.
macro_rules! begun {
    () => {
        concat!(
            "status = CASE WHEN ",
            rank!("m.status"),
            " = 0 THEN 'sending' ELSE m.status END, reason = NULL, held_by = NULL, site = COALESCE(m.site, i.site), ",
            "channel = i.channel, tries = i.number, last_attempt = i.attempt, merged_into = NULL, explanation = NULL "
        )
    };
}

/// The attempts that `begin` writes.
macro_rules! attempts {
    () => {
        concat!(
            "INSERT INTO attempts (id, message_id, step, number, status, provider, channel, address, address_index, dedupes, ",
            "segments, cost, template_hash, locale, recipient, page_hash, worker, begun_at, wait_us, awaits, pointer, text_mark, explanation) ",
            "SELECT i.attempt, i.id, i.step, i.number, 'sending', i.provider, i.channel, i.address, i.address_index, i.dedupes, ",
            "i.segments, i.cost, i.template_hash, i.locale, i.recipient, i.page_hash, $1, now(), i.wait_us, i.awaits, i.pointer, CASE WHEN length(i.text_mark) = 0 THEN NULL ELSE i.text_mark END, i.explanation "
        )
    };
}

/// What a result does to an attempt `a`.
macro_rules! attempt_settled {
    () => {
        concat!(
            "status = i.attempt_status, provider_ref = COALESCE(i.provider_ref, a.provider_ref), failure = i.failure, ",
            "code = i.code, settled_at = now(), ",
            "looked_at = CASE WHEN i.attempt_status = 'unknown' THEN COALESCE(a.looked_at, a.begun_at) END "
        )
    };
}

/// Whether a result raises the status of its message. `i.rank` is the rank of `i.status`, worked out once a row: it is
/// asked for many times.
macro_rules! result_raises {
    () => {
        concat!("COALESCE(i.rank > ", rank!("m.status"), ", false)")
    };
}

/// Told as sent or delivered, and its next step is due, or will be: it did not arrive after all, or its plan goes on.
macro_rules! goes_on {
    () => {
        "(m.status IN ('sent', 'delivered') AND m.step > 0 AND m.due_at IS NOT NULL)"
    };
}

/// Whether, after the result, it is still ours to send. What a provider has taken and not delivered is ours again; what
/// it has taken is so where the plan goes on, unless that has ended meanwhile.
macro_rules! result_leaves_open {
    () => {
        concat!(
            "(((COALESCE(",
            rank!("m.status"),
            " < 3, false) OR ",
            goes_on!(),
            ") AND COALESCE(i.rank, 0) < 3) OR (i.attempt_status = 'undelivered' AND (COALESCE(",
            rank!("m.status"),
            " <= 3, false) OR ",
            goes_on!(),
            ")) OR (i.next_step AND m.due_at IS NOT NULL AND m.status IN ('sending', 'unknown', 'sent', 'delivered')))"
        )
    };
}

/// Whether it is sent once more, over a later route.
macro_rules! sent_again {
    () => {
        "(m.status = 'sent' AND m.step > 0 AND i.attempt_status = 'sent' AND m.last_attempt = i.attempt)"
    };
}

/// Whether the result is told.
macro_rules! result_is_told {
    () => {
        concat!("(", result_raises!(), " OR ", sent_again!(), ")")
    };
}

/// What a result does to its message `m`: the status only rises, the work state follows its latest attempt, and
/// what somebody has is due no more, unless its plan goes on. The next step of a plan may wait already when the
/// attempt before it fails: then it is due at once. A receipt is awaited by what is sent; of a later route also while nobody knows
/// whether it was.
macro_rules! settled {
    () => {
        concat!(
            "status = CASE WHEN ",
            result_raises!(),
            " THEN i.status ELSE m.status END, ",
            "changed_at = CASE WHEN ",
            result_is_told!(),
            " THEN now() ELSE m.changed_at END, ",
            "seq = m.seq + CASE WHEN i.event_key IS NOT NULL AND ",
            result_is_told!(),
            " THEN 1 ELSE 0 END, ",
            "reason = CASE WHEN ",
            result_is_told!(),
            " OR (m.last_attempt = i.attempt AND ",
            result_leaves_open!(),
            ") THEN i.reason ELSE m.reason END, ",
            "due_at = CASE WHEN NOT ",
            result_leaves_open!(),
            " THEN NULL WHEN m.last_attempt = i.attempt AND (a.step = m.step OR i.attempt_status IN ('failed', 'undelivered')) ",
            // What was taken back meanwhile is followed by nothing: that is decided at once.
            "THEN CASE WHEN i.next_step AND ", withdrawn!("m"), " IS NOT NULL THEN now() ELSE i.due_at END ",
            "ELSE m.due_at END, ",
            "receipt_by = CASE WHEN i.status = 'unknown' AND m.status <> 'sent' THEN NULL WHEN ",
            result_raises!(),
            " OR (m.status = 'sent' AND m.last_attempt = i.attempt) THEN i.receipt_by ELSE m.receipt_by END, ",
            "step = CASE WHEN ",
            next_step!(),
            " THEN m.step + 1 ELSE m.step END, ",
            "tries = CASE WHEN ",
            next_step!(),
            // What did not leave is no try, nor is what a provider put off.
            " THEN 0 WHEN i.failure IN ('not_sent', 'throttled', 'misconfigured') AND m.last_attempt = i.attempt AND m.tries > 0 THEN m.tries - 1 ",
            "ELSE m.tries END, ",
            "lease_token = CASE WHEN m.last_attempt = i.attempt THEN NULL ELSE m.lease_token END "
        )
    };
}

macro_rules! next_step {
    () => {
        concat!("i.next_step AND m.last_attempt = i.attempt AND a.step = m.step AND ", result_leaves_open!())
    };
}

/// The columns of a message's facts, in the order in which `columns::facts` reads them.
macro_rules! facts {
    ($row:literal) => {
        concat!(
            $row,
            "id, ",
            $row,
            "source, ",
            $row,
            "job_id, ",
            $row,
            "patient_id, ",
            $row,
            "template, ",
            $row,
            "purpose, ",
            $row,
            "priority, ",
            $row,
            "about, ",
            $row,
            "site, ",
            $row,
            "campaign_id, ",
            $row,
            "correlation_id, ",
            $row,
            "test, ",
            $row,
            "is_change, ",
            $row,
            "retry_of"
        )
    };
}

/// What is answered of a row that has been leased, as `Ledger::readable` reads it: columns by their prefix, and what is
/// asked about the row.
macro_rules! claimed {
    ($prefix:literal, $row:literal) => {
        concat!(
            facts!($prefix),
            ", ",
            $prefix,
            "body, ",
            $prefix,
            "status, ",
            $prefix,
            "step, ",
            $prefix,
            "tries, ",
            $prefix,
            "accepted_at, ",
            $prefix,
            "lease_token, now(), ",
            withdrawn!($row),
            ", ",
            bound_to!($row),
            ", ",
            reached!($row),
            ", ",
            $prefix,
            "receipt_by IS NOT NULL, ",
            $prefix,
            "expires_at"
        )
    };
}

/// The columns of a message `m` that a reply follows, and of its attempt `a`: after the facts at 14 the locale, the attempt,
/// its status, where it went and over what, and whose contact that is.
macro_rules! answered {
    () => {
        concat!(
            $crate::store::words::facts!("m."),
            ", a.locale, a.id, a.status, a.address, a.channel, a.recipient"
        )
    };
}

pub(super) use {
    admitted, answered, attempt_rank, attempt_rises, attempt_settled, attempts, begun, bound_to, buried,
    buried_again, by_campaign, claimed, counted, decided, decision_is_legal, decision_is_told, facts,
    furthest, goes_on, handed_out, has_moved_on, is_free, is_guarded, is_waited_for_no_longer, may_begin,
    may_join, next_step, not_stopped, rank, reached, result_is_told, result_leaves_open, result_raises,
    sent_again, settled, taken_back, withdrawn, within_caps,
};
