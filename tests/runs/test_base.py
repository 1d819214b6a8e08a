"""What a run that resumes must share."""

import numpy as np

from vigamma.data.checksums import checksum_of


def test_a_checksum_is_of_all_arrays_in_their_order():
    first, last = np.arange(3.0), np.ones(2)
    leaves = [[first, last], [first + 1, last], [first, last + 1], [last, first]]
    assert len({str(checksum_of(arrays)) for arrays in leaves}) == 4
    assert checksum_of(leaves[0]) == checksum_of([first.copy(), last.copy()])
