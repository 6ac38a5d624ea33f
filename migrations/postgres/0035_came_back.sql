-- People are called when a mail comes back that was told as delivered.
ALTER TABLE work_items DROP CONSTRAINT work_items_kind_check;
ALTER TABLE work_items ADD CONSTRAINT work_items_kind_check CHECK (kind IN ('plan_exhausted', 'outcome_unknown', 'came_back',
    'unacknowledged', 'surge_hold', 'hold_review', 'reply', 'safety', 'maybe_cancel_visit'));
