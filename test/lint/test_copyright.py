# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
HEADER = [
    '# Copyright 2026 The lfm_ros authors',
    '# SPDX-License-Identifier: Apache-2.0',
]


def test_every_python_file_names_its_licence(python_files):
    without = []
    for file in python_files:
        lines = file.read_text().splitlines()
        if lines and lines[0].startswith('#!'):
            del lines[0]
        if lines[:2] != HEADER:
            without.append(str(file))
    assert not without, 'these files do not begin with\n' + '\n'.join(HEADER + without)
