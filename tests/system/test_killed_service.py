"""The service is killed in the middle of a study and started again; its worker comes back by itself."""

import optuna

from tests.system.watching import assert_exact, wait_for

TRIALS = 8


def test_a_killed_service_loses_no_trial_and_counts_none_twice(local, submit):
    with local.client() as client:
        local.start_worker()
        handle = submit(client, n_trials=TRIALS)
        for complete in (1, 3, 5):
            wait_for(lambda least=complete: handle.status().progress.finished >= least)
            local.service.kill()
            local.start_service()
        handle.wait(timeout=240)
        assert_exact(client, handle, TRIALS)
        url = f"sqlite:///{local.data_dir / 'ranksearch.db'}"
        seen = optuna.load_study(study_name=handle.status().optuna_study, storage=url).trials
        assert [trial.state.name for trial in seen] == [trial.state for trial in client.studies.trials(handle.id)]
