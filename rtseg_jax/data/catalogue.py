"""The data sets this package knows: classes, colours, meaning of their label files, licence and rule of evaluation."""

from rtseg_jax.data.class_file import shipped_info
from rtseg_jax.data.dataset import DatasetInfo

CAMVID = shipped_info("camvid", licence="480×360 copy: CC BY-NC 4.0; original: research, to be cited")
SYNTHETIC_STREETS = DatasetInfo("synthetic_streets", CAMVID.class_names, CAMVID.palette)
CITYSCAPES = shipped_info("cityscapes", licence="own terms: non-commercial, no redistribution", rule="cityscapes")
VOC2012 = shipped_info("voc2012", licence="Flickr's terms; no redistribution", rule="voc")
ADE20K = shipped_info("ade20k", licence="research and education; no redistribution", rule="ade20k")
KITTI = shipped_info("kitti", classes="cityscapes", licence="CC BY-NC-SA 3.0", rule="cityscapes")
BDD100K = shipped_info("bdd100k", licence="education, research, non-profit; with its notice", rule="bdd100k")
A2D2 = shipped_info("a2d2", licence="CC BY-ND 4.0: no converted copies")
NYUV2 = shipped_info("nyuv2", licence="none stated; research")
