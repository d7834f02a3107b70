from mer_hf.evaluation.run_report import _published


def test_published_results_of_the_same_architecture_and_of_other_methods_stand_beside_a_report():
    models = [each["model"] for each in _published("htnet", 3)]
    assert models == ["htnet", "htnet", "htnet", "SSSNet", "STSTNet", "Off-ApexNet"]
    assert [each["model"] for each in _published("facesleuth", 5)] == ["facesleuth"] * 3
    for each in _published("mmnet", 5):
        assert set(each) == {"model", "task", "scores", "source", "faults", "num_classes"}
        assert "epoch chosen on the tested subject, for each subject separately" in each["faults"]
