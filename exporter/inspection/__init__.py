"""`sam-export inspect`: say what a checkpoint is, without exporting. Nothing in it is executed."""
