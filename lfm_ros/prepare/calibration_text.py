# Copyright 2026 The lfm_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A conversation with a robot, to calibrate and to measure with."""

SYSTEM = ('You are the voice of a mobile robot with an arm and a camera. Answer in short '
          'sentences, and say so when you do not know something.')

TURNS = (
    ('Good morning. What is your status, and how much battery is left?',
     'Good morning. All systems are ready. The battery is at 82 percent, which lasts for about '
     'three hours of driving, or five hours if I mostly wait.'),
    ('There is a delivery for the laboratory on the second floor. Go to the loading dock first '
     'and tell me what you see there.',
     'I am at the loading dock now. I see two pallets. On the left one are four grey boxes with '
     'the label "fragile"; on the right one is a blue barrel, about 60 cm high. A person in a '
     'yellow vest stands next to the gate.'),
    ('Take the smallest grey box. Be careful, it must not be tilted by more than 10 degrees.',
     'The smallest box is 0.32 m wide and weighs 2.7 kg. My gripper holds it with 18 newtons, and '
     'it is level to within 2 degrees. I will drive at 0.4 m/s instead of 1.2 m/s.'),
    ('How will you get upstairs? The lift at gate B has been out of order since Tuesday.',
     'Then I take the lift at gate A. The way is 140 metres instead of 95, through corridor C and '
     'past the kitchen. I expect to be there in seven minutes, if nobody blocks the door.'),
    ('Someone left a ladder in corridor C. Can you get around it?',
     'Yes. The ladder leaves a gap of 0.9 metres on its right side, and with the box I am 0.7 '
     'metres wide. I have slowed down, and passed it without contact.'),
    ('Which door is the laboratory, and who takes the box?',
     'The map says room 214, the third door on the left behind the fire extinguisher. The order '
     'names Dr. Okafor or anyone from her team. The door is closed, so I have rung the bell and '
     'am waiting.'),
    ('If nobody opens within two minutes, put it on the table to the right of the door, take a '
     'picture and come back to the charging station.',
     'Understood: wait for two minutes, then put it on the table, take a picture, and come back. '
     'It is 10:41 now. I will report at 10:43.'),
    ('What happened?',
     'A man opened at 10:42 and said that Dr. Okafor is in a meeting. He showed a badge of her '
     'team and took the box. I have noted his name, Jonas Weber, and the time. I am on my way '
     'back; the battery is at 74 percent.'),
    ('Well done. On the way, check whether the emergency exit beside the kitchen is free.',
     'It is not quite free. A trolley with dishes stands 30 cm in front of the door. I cannot '
     'move it with my arm, because it is heavier than my limit of 5 kg. Shall I tell the cook?'),
    ('Yes, please, and remind me at noon to ask about it. Then charge until you are full.',
     'I have told the kitchen; the cook will move the trolley now. I will remind you at 12:00. I '
     'have reached the charging station and am charging. It will take 50 minutes.'),
)
