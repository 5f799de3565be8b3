import unittest

import main


class Test(unittest.TestCase):
    def test_answer(self):
        self.assertEqual(main.answer("/ann"), {"letter": "Dear ann, your tea is on its way."})
        self.assertIsNone(main.answer("/"))
