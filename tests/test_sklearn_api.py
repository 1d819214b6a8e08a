from sklearn.utils.estimator_checks import parametrize_with_checks

from vigamma import PoissonFactorizer


@parametrize_with_checks([PoissonFactorizer(), PoissonFactorizer(hierarchical=False)])
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)
