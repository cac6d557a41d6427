"""When a checkpoint is written and which ones stay; an interrupted run saves first.

May enter: the rules of saving; how a folder is written whole or not at all is vxl.checkpoint.step_folder.
Contract: `last` names a complete checkpoint at all times, and none is removed before the next is complete.
"""
