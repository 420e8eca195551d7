"""What runs in the virtual machine: the tests to which cgroup v2, systemd, another kernel or a real session make a difference.

Emulation is five to ten times slower than the machine it runs on, so this is a choice; no names stand for the whole file.
"""

from __future__ import annotations

# Containers as their caller sees them: for root and for the ordinary user.
_LIFE = (
    "test_a_container_goes_through_its_states",
    "test_state_has_what_engines_read",
    "test_run_ends_with_the_programs_exit_code",
    "test_run_forwards_signals",
    "test_of_many_creates_at_once_one_creates",
    "test_a_created_container_is_deleted_without_force",
    "test_kill_all_reaches_every_process",
    "test_the_end_of_the_first_process_ends_all",
    "test_run_copies_between_two_terminals",
    "test_a_failing_mount_is_named_and_nothing_is_left",
    "test_a_container_whose_process_was_killed_before_start_is_stopped",
)
_RUN = (
    "test_the_output_of_the_command_is_the_output_of_run",
    "test_a_command_that_is_killed_is_137",
    "test_a_command_that_is_not_there_is_127",
    "test_the_command_has_no_other_process_beside_it",
    "test_with_init_the_reaper_is_pid_1_and_the_code_comes_through",
    "test_rm_leaves_nothing",
    "test_a_detached_run_prints_its_id_and_goes_on",
    "test_a_directory_is_an_image",
)
_ISOLATION = (
    "test_what_is_mounted_is_what_the_spec_says",
    "test_no_mount_propagates_in_either_direction",
    "test_limits_are_those_of_the_spec",
    "test_the_default_filter_refuses_calls_that_nobody_needs",
)
_EXEC = ("test_it_joins_every_namespace", "test_it_is_in_the_containers_cgroup")
_BOTH: dict[str, tuple[str, ...]] = {
    "tests/runtime/test_lifecycle.py": _LIFE,
    "tests/engine/test_run.py": _RUN,
    "tests/kernel/test_isolation.py": _ISOLATION,
    "tests/runtime/test_exec.py": _EXEC,
    "tests/vm/test_inside.py": (),
    "tests/vm/test_scopes.py": (),
    "tests/vm/test_callers.py": (),
    "tests/vm/test_units.py": (),
    "tests/engine/test_pause.py": (
        "test_no_process_of_a_paused_container_moves",
        "test_stop_lets_a_paused_container_hear_of_it",
    ),
    "tests/engine/test_stats.py": ("test_a_running_container_is_counted_or_said_not_to_be",),
    "tests/engine/test_guardian.py": ("test_the_signal_that_killed_it_survives", "test_rm_is_kept"),
    "tests/engine/test_sleeping.py": ("test_the_exit_code_is_told",),
    "tests/engine/test_health.py": ("test_a_health_command_says_how_the_container_is",),
}

CHOSEN: dict[str, dict[str, tuple[str, ...]]] = {
    "root": {
        "tests/kernel/test_cgroup_v2.py": (),
        "tests/kernel/test_cgroup_members.py": (),
        "tests/kernel/test_cgroup_changes.py": (),
        "tests/kernel/test_cgroup_scopes.py": (),
        "tests/runtime/test_control.py": (
            "test_a_paused_container_does_nothing_until_it_is_resumed",
            "test_sigkill_ends_a_paused_container",
            "test_update_changes_what_it_names_and_nothing_else",
            "test_events_tell_when_memory_ran_out",
        ),
        "tests/runtime/test_checkpoint.py": (
            "test_a_container_goes_on_where_it_was",
            "test_with_leave_running_both_go_on",
            "test_a_dump_writes_what_changed_since_a_pre_dump",
            "test_mounts_limits_and_names_are_those_of_the_spec",
            "test_a_namespace_that_was_joined_is_joined_again",
            "test_the_foreground_has_the_streams_and_the_exit_code",
            "test_a_terminal_is_sent_again",
            "test_hooks_and_the_pid_file_belong_to_it",
            "test_a_restore_that_is_killed_leaves_nothing",
            "test_images_that_others_could_write_are_refused",
            "test_a_user_namespace_is_refused",
            "test_memory_that_is_lazy_is_fetched_when_it_is_used",
            "test_flags_of_lazy_memory_go_together_or_not_at_all",
            "test_what_is_not_done_is_refused_by_name",
            "test_features_tell_that_containers_can_be_written",
            "test_without_criu_it_is_said_what_to_install",
        ),
        "tests/engine/test_limits.py": (
            "test_a_limit_stands_in_its_file",
            "test_a_disk_has_a_rate",
            "test_memory_is_held_to_its_limit",
            "test_processes_are_held_to_their_limit",
            "test_the_cgroup_is_made_in_another",
        ),
        "tests/engine/test_update.py": (
            "test_limits_of_a_running_container_change_at_once",
            "test_a_limit_can_be_taken_away",
            "test_what_is_not_named_stays",
        ),
        # Of the user's it is root who starts them, since a test's own machine takes root.
        "tests/engine/test_network_tour.py": (
            "test_containers_find_each_other_by_name[root]",
            "test_a_published_web_server_is_fetched_from_everywhere[root]",
            "test_a_published_web_server_is_fetched_from_everywhere[user]",
        ),
        "tests/engine/test_restart.py": ("test_memory_that_ran_out_is_told",),
        "tests/vm/test_daemons.py": (),
        "tests/runtime/test_mount_ids.py": ("test_files_are_shown_with_the_mapped_ids",),
        **_BOTH,
        "tests/engine/test_stats.py": (
            "test_a_running_container_is_counted_or_said_not_to_be",
            "test_a_limit_of_memory_is_shown",
            "test_a_paused_container_is_counted_as_well",
        ),
        "tests/runtime/test_exec.py": (*_EXEC, "test_a_container_that_divides_its_cgroup_of_v2_can_be_entered"),
        "tests/runtime/test_lifecycle.py": (
            *_LIFE,
            "test_a_cgroup_that_is_in_use_is_an_error_and_nothing_is_left",
            "test_the_container_is_in_the_cgroup_of_its_spec",
            "test_a_container_goes_through_its_states[userns]",
        ),
    },
    "user": {
        **_BOTH,
        "tests/engine/test_limits.py": ("test_an_ordinary_user_has_limits_where_they_are_delegated",),
        "tests/vm/test_fresh.py": (),
    },
}

# A skip in the machine is a failure here, but for these: what this machine has, or lacks, on purpose.
EXPECTED_SKIPS = (
    "this machine's v2 has memory, pids and cpu",
    "the layout is not hybrid",
    "cgroup v2 has no real time",
    "this machine has rdma",
    "systemd runs this machine",
    "of an ordinary user",
    "of root",
    "no Alpine root file system beside the checkout: set CRATE_TEST_ALPINE to an alpine-minirootfs-*.tar.gz",
)
