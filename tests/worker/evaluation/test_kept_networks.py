import torch

import ranksearch
from worker.evaluation.compressed import write_compressed
from worker.evaluation.kept_networks import KeptNetworks
from worker.evaluation.trial import measure_trial


def test_the_least_recently_made_goes_first_and_within_a_size():
    kept = KeptNetworks(most=2, limit=1000)
    networks = [torch.nn.Linear(10, 10) for _ in range(3)]  # 440 bytes each
    for number, network in enumerate(networks):
        kept.keep(number, network)
    assert [kept.get(number) for number in range(3)] == [None, *networks[1:]]
    kept.keep("large", torch.nn.Linear(1000, 10))
    assert [kept.get(key) for key in (1, 2, "large")] == [None] * 3


def test_the_network_of_a_trial_just_measured_is_not_made_again(session, work, tmp_path, monkeypatch):
    measure_trial(session, work.trial(), work.files)
    monkeypatch.setattr("worker.evaluation.trial.calibrate", lambda *_: 1 / 0)
    made = write_compressed(session, work.compress(), work.files, tmp_path)
    (images, _), *_ = work.batches(20, 60)
    with torch.no_grad():
        wanted = work.compressed()(images)
        torch.testing.assert_close(ranksearch.load(tmp_path / made.sha256)(images), wanted, rtol=1e-4, atol=1e-5)


def test_one_of_other_images_is_made_anew(session, work, tmp_path):
    measure_trial(session, work.trial(calibration=work.selection(0, 10)), work.files)
    other = write_compressed(session, work.compress(), work.files, tmp_path).sha256
    session.forget()
    assert write_compressed(session, work.compress(), work.files, tmp_path).sha256 == other


def test_one_of_other_sweeps_is_made_anew(session, work, tmp_path):
    measure_trial(session, work.trial(), work.files)
    made = write_compressed(session, work.compress(sweeps=2), work.files, tmp_path)
    (images, _), *_ = work.batches(20, 60)
    with torch.no_grad():
        found = ranksearch.load(tmp_path / made.sha256)(images)
        torch.testing.assert_close(found, work.compressed(sweeps=2)(images), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found, work.compressed()(images), rtol=1e-3, atol=1e-3)
