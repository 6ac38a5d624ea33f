//! The contract of the ledger, kept by both databases: each test runs once on PostgreSQL and once on SQLite.

mod ledger;
pub(crate) mod make;

mod alerts;
mod answers;
mod begin;
mod callbacks;
mod campaigns;
mod caps;
mod claim;
mod contacts;
mod copies;
mod decide;
mod digest;
mod directory;
mod file;
mod gate;
mod guard;
mod holds;
mod intake;
mod keeping;
mod lists;
mod look_ups;
mod mail_answers;
mod mutants;
mod operate;
mod outbox;
mod page;
mod patients;
mod people;
mod plans;
mod properties;
mod receive;
mod recover;
pub(crate) mod replies;
mod schema;
mod settle;
mod sign_offs;
mod take_back;
mod take_over;
mod throughput;
mod work;

/// Makes `postgres::NAME` and `sqlite::NAME` of every `area::NAME`.
macro_rules! contract {
    ($($area:ident { $($(#[$attr:meta])* $name:ident)+ })+) => {
        contract!(@on postgres $($area { $($(#[$attr])* $name)+ })+);
        contract!(@on sqlite $($area { $($(#[$attr])* $name)+ })+);
    };
    (@on $database:ident $($area:ident { $($(#[$attr:meta])* $name:ident)+ })+) => {
        mod $database {
            $($(
                $(#[$attr])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$area::$name(super::ledger::$database().await).await;
                }
            )+)+
        }
    };
}

contract! {
    schema {
        migrating_twice_changes_nothing
        programs_that_start_together_migrate_once
        a_schema_that_is_too_new_is_refused
        a_missing_schema_is_named
        a_schema_of_before_is_named
        a_ledger_stays_under_the_key_that_it_was_begun_with
        a_status_moves_as_the_domain_says
        what_is_sent_touches_no_index_of_its_message
        what_was_taken_while_leases_moved_is_nobodys_for_ever
    }
    intake {
        an_accepted_job_is_on_record
        the_same_job_again_is_a_duplicate
        other_content_under_the_same_name_is_a_conflict
        a_name_twice_in_one_batch_counts_once
        the_worker_takes_in_hand_what_it_has_room_for
        a_job_for_later_is_scheduled_and_not_in_hand
        what_is_urgent_takes_the_room_first
        what_cannot_be_accepted_is_parked_and_reported
        a_body_that_comes_again_is_parked_once
        what_was_accepted_before_is_a_repeat_and_no_reject
        a_manual_retry_needs_no_name_of_its_own
        many_at_once_are_each_accepted_once
    }
    take_back {
        a_replacement_takes_the_place_of_what_waits
        a_replacement_of_what_was_sent_is_a_change
        a_change_of_a_change_is_a_change
        a_change_of_a_change_that_reached_nobody_is_a_change
        a_replacement_that_comes_first_wins
        a_cancel_by_name_takes_the_job_back
        a_cancel_that_comes_first_waits_for_its_job
        a_cancel_of_a_matter_takes_back_all_of_it
        a_cancel_of_a_matter_that_comes_first_waits_for_its_jobs
        a_cancel_that_is_too_late_is_told_and_changes_nothing
        after_a_late_cancel_of_a_matter_a_new_job_is_welcome
        a_cancel_twice_is_the_same_as_once
        a_cancel_of_one_source_leaves_the_others_alone
        a_job_on_its_way_out_can_not_be_taken_back
        a_cancel_and_a_begin_at_once_never_both_win
        a_job_whose_attempt_failed_can_be_taken_back
        what_a_person_sends_once_more_is_bound_by_what_is_said_later
        what_a_person_has_sent_once_more_begins_no_more_by_itself
        of_a_cancelled_campaign_nothing_follows
        a_cancel_of_the_first_leaves_the_second_try_alone
        a_tombstone_does_not_last_forever
        what_was_taken_back_too_late_is_bound_until_it_expires
        job_replacement_and_cancels_end_alike_in_every_order
        random_orders_of_job_replacement_and_cancel_end_as_the_rules_say
    }
    claim {
        what_is_due_is_leased_once
        sources_take_turns
        where_one_finds_room_it_is_not_always_of_the_same_source
        urgent_and_bulk_are_asked_for_apart
        channels_are_asked_for_apart
        the_oldest_due_come_first
        two_workers_never_lease_the_same
        what_is_given_back_is_due_again
        a_stale_lease_gives_nothing_back
        a_claimed_job_that_was_cancelled_meanwhile_says_so
        one_that_cannot_be_read_keeps_nobody_else_waiting
        a_word_of_a_newer_program_keeps_nobody_else_waiting
        a_claim_and_a_begin_read_what_they_take_and_not_the_whole_table
    }
    copies {
        a_proxy_gets_one_copy_however_often_it_is_asked_for
        whoever_takes_a_job_back_takes_its_copies_back
        a_copy_that_waits_is_taken_back_though_the_patient_has_theirs
        a_second_try_of_a_copy_is_a_copy
        a_cancel_of_a_matter_binds_a_copy_on_its_way
        a_cancel_and_a_copy_at_once_leave_nothing_to_send
    }
    digest {
        riders_begin_with_their_carrier_or_nothing_does
        an_erased_rider_does_not_show_why_its_carrier_went
        what_becomes_of_the_carrier_becomes_of_its_riders
        of_what_its_carrier_lost_after_all_people_know
        a_rider_whose_carrier_is_lost_comes_before_a_person
        a_rider_that_is_taken_along_again_outlives_its_worker
        what_a_provider_may_have_taken_rides_on_nothing
        company_is_whoever_waits_for_the_same_reader
        two_hands_that_hold_one_each_find_each_other
        no_rider_is_lost_or_told_twice
    }
    directory {
        a_patient_is_found_under_every_name
        an_unknown_patient_has_a_revision_all_the_same
        what_was_said_at_an_address_is_found
        what_was_said_at_a_snapshots_address_is_found
        routes_that_were_given_up_are_remembered
        holds_in_force_are_seen
        a_number_is_of_those_whose_own_it_is
        a_guardian_who_was_merged_is_known_at_a_shared_number
        answers_come_in_the_order_of_the_questions
        a_record_that_cannot_be_read_is_told_and_hides_no_other
    }
    decide {
        a_decision_moves_the_status_and_ends_the_lease
        a_final_decision_is_told
        a_decision_on_a_lost_lease_is_ignored
        a_hold_is_due_again_when_it_says
        a_message_under_way_keeps_its_status_while_it_waits
        the_same_decision_again_is_not_told_again
    }
    alerts {
        one_worker_watches_and_what_people_say_is_kept
        what_is_wrong_shows_in_a_few_numbers
        what_is_held_again_and_again_is_seen_to_wait
        however_many_alerts_there_are_whoever_watches_knows_all
        words_of_a_newer_program_hide_nothing_else_that_is_wrong
        a_provider_that_delivers_nothing_is_seen_beside_one_that_sends_much
    }
    people {
        an_account_is_made_once_and_changed
        a_session_ends_when_nobody_asks_for_it
        the_audit_log_shows_what_was_altered
        what_happens_is_counted_by_the_minute
        a_route_that_fails_is_given_up_by_a_persons_word
    }
    begin {
        an_attempt_is_on_record_before_it_is_sent
        a_lost_lease_begins_nothing
        a_lease_with_too_little_left_begins_nothing
        an_answer_that_is_due_to_change_begins_nothing
        a_change_of_the_patient_begins_nothing
        a_stop_at_the_address_begins_nothing
        a_stop_at_a_snapshots_address_begins_nothing
        a_merge_begins_nothing
        a_cancel_begins_nothing
        every_scope_of_hold_begins_nothing
        a_hold_on_others_does_not_matter
        a_final_message_begins_nothing
        an_unknown_outcome_is_not_sent_again_blindly
        an_unknown_outcome_is_sent_again_where_repeats_are_recognised
        one_refusal_does_not_stop_the_others
    }
    campaigns {
        with_an_old_row_nobody_is_read
        what_two_have_written_counts_once_and_no_turn_goes_back
        what_waits_for_a_limit_or_a_budget_counts_as_due
        a_campaign_that_cannot_be_read_stops_no_other
    }
    caps {
        what_was_counted_is_seen
        of_two_that_saw_the_same_the_second_is_refused
        a_household_shares_its_number_and_its_cap
        whoever_is_told_along_is_counted
        what_was_not_sent_is_forgotten
        what_is_due_within_a_day_is_known_to_those_that_yield
        many_at_once_never_cross_a_cap
    }
    settle {
        sent_is_on_record_and_told
        what_may_have_begun_is_taken_back_with_its_lease
        each_status_that_is_wanted_is_told
        what_is_sent_is_told_with_what_it_is_reckoned_at
        a_retry_waits_for_its_time
        an_unknown_outcome_waits_for_news
        an_unknown_outcome_may_be_tried_again
        a_given_up_route_leads_to_the_next_step
        a_late_result_lands_after_a_take_over
        two_results_for_one_message_in_one_batch_both_count
        no_result_lowers_a_status
        a_result_twice_is_told_once
        what_was_sent_is_not_tried_again
        a_late_result_of_an_earlier_attempt_leaves_the_later_one_in_hand
    }
    receive {
        a_receipt_moves_its_message_and_is_told
        what_has_come_is_awaited_no_more
        a_receipt_that_comes_before_the_answer_lands
        an_unknown_outcome_is_settled_by_a_receipt
        all_orders_of_six_receipts_end_alike
        receipts_with_an_undelivered_one_end_alike_in_all_orders
        what_is_undelivered_goes_its_next_way
        what_was_told_as_delivered_and_comes_back_goes_on
        of_what_came_back_and_has_no_way_left_people_know
        a_message_whose_last_way_is_gone_has_failed
        a_second_way_that_is_lost_calls_people
        what_goes_on_survives_its_worker
        one_that_finds_nothing_is_kept_and_matched
        no_receipt_in_time_and_sent_is_final
        what_does_not_report_is_final_at_once
        a_contact_that_fails_again_is_given_up
        what_cannot_be_read_keeps_no_other_contact_from_being_judged
        a_contact_that_jobs_bring_is_given_up_by_its_address
        what_arrives_wipes_the_slate
        receipts_and_answers_at_once_lose_nothing
    }
    contacts {
        an_address_that_cannot_be_read_keeps_no_other_stop_off_the_record
    }
    recover {
        what_a_restore_forgot_is_settled_by_whoever_knows
        the_plan_of_what_is_unknown_ends
        a_word_of_before_the_dump_ends_no_plan
        what_may_have_gone_along_with_another_does_not_go_again
        what_was_not_sent_goes_out_after_the_release
    }
    replies {
        a_stop_binds_everybody_behind_the_number_once
        a_start_gives_back_what_a_stop_took_and_no_more
        a_cancel_after_a_visit_stops_and_calls_people
        each_free_text_is_work_until_a_person_closes_it
        danger_is_urgent_and_the_wish_in_it_counts
        a_wrong_number_is_marked_for_whom_it_was_written_to
        a_wrong_number_is_wrong_wherever_it_was_read_from
        who_answers_has_read_what_has_come
        a_language_is_theirs_whose_number_it_is
        a_number_that_nobody_knows_is_heard_all_the_same
        of_one_webhook_many_times_at_once_one_counts
        a_carriers_stop_is_on_record_once_until_it_is_lifted
        another_way_is_theirs_whose_number_it_is
        an_answer_counts_where_the_mail_went
        a_reply_that_was_kept_follows_what_had_been_sent_when_it_was_said
        what_followed_no_message_belongs_to_whose_contact_it_came_from
    }
    mail_answers {
        an_answer_to_a_mail_is_begun_once_and_goes_where_ours_went
        courtesies_are_one_a_day_and_what_is_owed_is_not_endless
        an_answer_that_cannot_be_read_keeps_no_other_back
        what_was_due_in_a_dump_is_not_sent_after_it
    }
    answers {
        every_question_at_a_number_has_digits_of_its_own
        an_answer_finds_its_message_or_is_asked_back_once
        an_answer_that_was_kept_is_one_to_what_had_been_asked
        a_call_and_a_mail_are_answered_for_themselves
    }
    plans {
        the_next_step_is_due_after_its_wait_and_the_end_is_told_once
        what_ends_a_plan_and_what_does_not
        a_late_cancel_drops_what_has_not_begun_and_an_unknown_step_is_followed
        what_a_person_sends_again_is_followed_by_nothing_of_the_first
    }
    take_over {
        a_live_worker_keeps_what_it_holds
        a_silent_worker_loses_what_it_holds
        a_lease_that_ended_is_anybodys
        a_lease_goes_once_it_has_ended_and_nothing_is_had_of_it
        a_clock_that_is_set_back_leaves_nothing_to_the_dead
        what_had_begun_is_unknown
        what_had_begun_is_due_where_repeats_are_recognised
        what_was_sent_meanwhile_stays_sent
        many_workers_take_over_once
    }
    gate {
        slots_lie_an_interval_apart
        a_clock_that_is_set_back_closes_the_gate_for_seconds_only
        who_comes_a_second_late_forgets_nothing_that_others_took
        two_callers_share_one_rate
        the_slowest_key_sets_the_pace
        no_slot_lies_nearer_than_the_lead
        no_slot_lies_beyond_the_horizon
        unused_time_is_not_saved_up
        a_day_has_its_share
        a_spent_budget_is_never_crossed
        a_budget_is_spent_whole_or_not_at_all
        many_callers_never_cross_a_limit
    }
    outbox {
        events_of_a_message_leave_in_order
        what_is_published_is_not_read_again
        two_workers_never_share_a_lane
        a_dead_workers_lanes_are_taken_over
        who_leaves_hands_the_lanes_on_at_once
    }
    callbacks {
        every_event_of_a_source_with_a_callback_waits_to_be_posted
        a_source_without_a_callback_has_nothing_to_be_posted
        events_of_a_message_are_posted_one_after_the_other
        a_dead_event_holds_back_its_message_until_it_is_tried_again
        callbacks_are_found_by_every_filter
        a_round_belongs_to_one_worker
        a_round_that_nobody_ended_ends_by_itself
        a_receiver_that_is_away_is_asked_with_one_event_after_its_rest
        many_workers_post_each_event_once
        an_unknown_outcome_and_its_news_are_told_in_order
        what_nothing_takes_for_too_long_is_dead_and_begins_anew
        while_anything_gets_through_nothing_is_given_up
    }
    patients {
        an_upsert_creates_then_updates_then_changes_nothing
        an_older_upsert_is_stale_and_its_consents_count
        a_batch_may_name_a_patient_twice
        a_revocation_outlives_an_older_upsert_and_a_snapshot
        a_new_patient_wakes_the_messages_that_waited
        a_patient_who_comes_while_a_decision_is_written_wakes_its_message
        a_merged_patient_answers_under_both_names
        a_mailbox_spelt_in_two_ways_is_one
        what_the_one_was_sent_the_merged_one_has_had
        a_chain_of_merges_leads_to_the_last
        unknown_patients_do_not_merge
        of_an_upsert_under_an_old_name_only_the_wishes_count
        what_was_said_at_an_address_twice_is_on_record_once
        an_erased_patient_is_gone_and_their_wishes_stay
        upserts_at_once_lose_nothing
    }
    page {
        a_link_leads_to_its_message_and_patient
        looking_changes_nothing
        a_wish_is_kept_counted_as_read_and_told
        a_history_is_not_rewritten
        a_proxys_link_stops_at_their_address
        an_opt_out_on_the_page_begins_nothing
        a_stop_on_the_page_counts_against_its_campaign_once
        choices_made_on_an_old_page_are_not_taken
        the_page_binds_the_patient_and_nobody_else_at_the_address
        a_merged_patient_is_reached_by_an_older_link
        somebody_who_is_not_on_record_stops_their_address
        an_act_while_the_send_is_under_way_ends_the_message
        wishes_at_once_lose_nothing
    }
    operate {
        a_hold_is_listed_until_it_is_released
        a_hold_ends_by_itself
        releasing_a_hold_wakes_what_it_held
        parked_bodies_are_listed_and_marked
        a_parked_body_that_cannot_be_opened_keeps_nobody_from_the_others
        a_worker_is_seen
    }
    sign_offs {
        a_sign_off_is_of_exactly_these_texts_until_it_is_taken_back
    }
    holds {
        a_hold_that_expires_what_it_held_ends_it
        what_a_hold_keeps_of_a_whole_campaign_counts_as_due
        a_hold_that_asks_for_review_keeps_what_it_held
        what_waits_for_review_can_be_dropped
        a_word_given_on_release_counts_for_any_hold
        a_hold_whose_time_passes_ends_as_it_says
        a_decision_that_comes_after_the_end_holds_nothing
        a_decision_that_comes_after_the_end_ends_as_the_others
        what_is_under_way_is_ended_and_never_called_expired_if_it_may_have_arrived
        many_held_messages_go_in_batches
        a_hold_that_cannot_be_read_stops_all_that_it_may_be_meant_to_stop
    }
    work {
        a_plan_that_is_exhausted_calls_people
        an_urgent_message_that_nobody_acknowledges_calls_people
        what_is_open_is_looked_at_in_turns
        an_outcome_that_stays_unknown_calls_people
        news_closes_what_was_unknown
        nobody_in_time_and_people_are_called_again
        one_at_a_time_has_a_work_item
        work_items_are_found_by_every_filter
        many_workers_call_people_once
    }
    guard {
        a_source_in_surge_is_held_and_its_template_is_not
        a_template_in_surge_is_held
        what_is_new_is_judged_by_the_floor
        what_is_urgent_counts_and_neither_it_nor_a_campaign_is_held
        what_a_surge_means_for_later_is_decided_upon_at_once
        a_surge_that_was_released_is_not_held_again
        a_surge_that_was_dropped_is_held_again_and_is_no_measure
        workers_that_see_the_same_surge_place_one_hold
        a_duplicate_is_not_counted
        old_counts_are_forgotten_but_not_since_when
        a_source_sends_what_it_may_in_a_day
        the_limit_of_a_day_is_exact_over_many_workers
        a_day_ends_at_the_organisations_midnight
        emergencies_for_many_wait_for_a_second_person
    }
    lists {
        messages_are_found_by_every_filter
        messages_are_found_by_when_they_were_accepted
        a_cursor_walks_through_all
        changes_are_listed_oldest_first
        an_unknown_message_is_none
        attempts_are_listed_as_they_were
        the_ledger_counts_itself
    }
    look_ups {
        what_is_too_old_is_looked_up_no_more_and_is_not_walked
        the_older_a_send_the_longer_it_is_left_alone
    }
    keeping {
        a_dump_names_nobody
        values_are_sealed_anew_beside_running_work
        what_has_ended_is_erased_in_its_time
        what_nothing_needs_any_more_goes_as_a_whole
        a_message_goes_after_all_that_points_at_it
        events_go_once_they_are_published_and_posted
        a_turn_that_is_cut_loses_nothing
        what_comes_at_the_last_moment_keeps_a_message
        a_patient_is_erased_and_their_no_stays
        what_was_refused_at_a_former_number_outlives_the_record
        who_is_merged_while_they_are_erased_is_erased_too
    }
    throughput {
        #[ignore = "takes minutes: a measurement, run by hand"]
        throughput
    }
}
