# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A real node whose folder of missions others have been in."""
from contextlib import closing
import os
import time

from lfm_ros.conversation.entry import HEAD
from lfm_ros.conversation.transcript import Transcript
from lfm_ros.errors import ErrorCode
from lfm_ros.srv import DeleteMission
from lfm_ros.srv import ExportMission
from lfm_ros.srv import ImportMission
from lfm_ros.storage.log import MissionLog
from node_support import running_node
from support import assert_one_line

COUNT = 1000


def test_a_folder_that_others_may_write_to_is_refused_where_that_is_wanted(tmp_path):
    place = tmp_path / 'missions'
    place.mkdir()
    place.chmod(0o777)
    with running_node(missions__dir=place) as client:
        assert 'mode 0777' in client.node_process.log
    with running_node(missions__dir=place, missions__strict_permissions=True, check_end=False,
                      state='unconfigured') as client:
        client.wait_until(lambda: 'configure failed' in client.node_process.log, 'the refusal')
        assert 'missions.strict_permissions' in client.node_process.log


def test_exports_do_not_follow_links(tmp_path):
    place, elsewhere = tmp_path / 'missions', tmp_path / 'elsewhere'
    elsewhere.mkdir()
    with running_node(missions__dir=place) as client:
        assert not client.ask('hello', max_tokens=2).error_code
        (place / 'exports').symlink_to(elsewhere)
        for kind, verb in ((ExportMission, 'export'), (ImportMission, 'import')):
            response = client.call(kind, f'~/missions/{verb}', kind.Request(file='x.lfm'))
            assert response.error_code == ErrorCode.STORAGE_FAILED
            assert_one_line(response.error_msg, 'exports', 'symbolic link')
        assert not os.listdir(elsewhere)
        (place / 'exports').unlink()
        (tmp_path / 'secret').write_text('secret')
        assert not client.call(ExportMission, '~/missions/export',
                               ExportMission.Request(file='x.lfm')).error_code
        for name in ('link', 'pipe'):
            (place / 'exports' / 'link').symlink_to(tmp_path / 'secret') if name == 'link' else \
                os.mkfifo(place / 'exports' / 'pipe')
            response = client.call(ImportMission, '~/missions/import',
                                   ImportMission.Request(file=name))
            assert response.error_code == ErrorCode.ARCHIVE_INVALID
            assert_one_line(response.error_msg, name)
        assert (tmp_path / 'secret').read_text() == 'secret'


def test_a_thousand_missions_of_long_names_are_told_in_short_messages(tmp_path):
    place = tmp_path / 'missions'
    place.mkdir(mode=0o700)
    with closing(MissionLog(place / 'missions.db')) as log:
        for number in range(COUNT):
            told = Transcript(f'{number:04}' + 'x' * 124, 'f' * 64)
            told.push([1], [1])
            told.add(HEAD)
            told.push([1], [1])
            told.add('turn', 'What? ' * 200, 'There. ' * 200, 'stop')
            log.write(told)
    with running_node(missions__dir=place, missions__max_count=COUNT) as client:
        status = client.wait_status(lambda s: len(s.missions) == COUNT)
        assert status.state == 'active'
        started = time.monotonic()
        assert not client.ask('hello', mission_id=status.missions[7].mission_id,
                              max_tokens=2).error_code
        for kind, verb in ((DeleteMission, 'delete'), (ExportMission, 'export')):
            response = client.call(kind, f'~/missions/{verb}', kind.Request(mission_id='nobody'))
            assert response.error_code == ErrorCode.UNKNOWN_MISSION
            assert len(response.error_msg) < 1000 and '995 more' in response.error_msg
        refused = client.ask('hello', mission_id='one more', max_tokens=2)
        assert refused.error_code == ErrorCode.TOO_MANY_MISSIONS
        assert time.monotonic() - started < 30
        assert max(map(len, client.node_process.log.splitlines())) < 1000
