from vxl.config.compose import compose


def test_a_sweep_members_name_is_taken_as_it_is_printed() -> None:
    for name in ("plain", "compression-1a2b3c/ratio=4", "compression-1a2b3c/ratio=4,seed=1", "'a/ratio=4'"):
        assert compose("evaluate", [f"run={name}"]).run == name.strip("'")


def test_a_run_to_start_from_may_be_a_sweep_member() -> None:
    config = compose("train", ["init_from=s/ratio=4,seed=1", "weights=runs/s/ratio=4"])
    assert config.init_from == "s/ratio=4,seed=1"
    assert config.weights == "runs/s/ratio=4"
